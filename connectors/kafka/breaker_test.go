package kafka

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"lupa/pipeline"
)

// dying runs a process that reads a topic until it dies, with what it was told
// to do when it sees the value "poison". It gives how it ended.
func dying(t *testing.T, k brokers, dir, how string, from int64) (output string, died bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDyingProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "LUPA_TEST_DIES="+how, "LUPA_TEST_DIR="+dir,
		"LUPA_TEST_FROM="+fmt.Sprint(from), "LUPA_TEST_BROKERS="+strings.Join(k.ListenAddrs(), ","))
	out, err := cmd.CombinedOutput()
	text := string(out)
	died = err != nil && !strings.Contains(text, "stopped: ")
	return text, died
}

// TestDyingProcess is the other process.
func TestDyingProcess(t *testing.T) {
	how, dir := os.Getenv("LUPA_TEST_DIES"), os.Getenv("LUPA_TEST_DIR")
	if how == "" {
		return // not a child of another test
	}
	var from int64
	if _, err := fmt.Sscan(os.Getenv("LUPA_TEST_FROM"), &from); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Brokers: strings.Split(os.Getenv("LUPA_TEST_BROKERS"), ",")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenBreaker(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.Partition{Topic: "x"}
	e, err := c.EventsOf([]string{"x"}, []pipeline.Partition{p})
	if err != nil {
		t.Fatal(err)
	}
	e.Guard(b)
	if err := e.Open(t.Context(), pipeline.Positions{p: {Next: from}}); err != nil {
		fmt.Println("stopped:", err)
		return
	}
	poison := false
	for {
		chunk, err := e.Next(t.Context())
		if poison && how == "after" {
			die() // nothing is in flight any more
		}
		if err != nil {
			fmt.Println("stopped:", err)
			return
		}
		if chunk == nil {
			continue
		}
		for _, v := range chunk.Values {
			poison = poison || string(span2bytes(chunk.Arena, v)) == "poison"
		}
		switch {
		case poison && how == "kill":
			die()
		case poison && how == "panic":
			panic("the process dies of what it was given")
		}
		if chunk.Next.Next >= 30 && how == "lives" {
			if _, err := e.Next(t.Context()); err == nil {
				fmt.Println("stopped: at the end")
			}
			e.Close()
			b.Close()
			return
		}
	}
}

func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// poisoned makes a topic of 30 records in batches of 5, the 18th of which
// kills.
func poisoned(t *testing.T) brokers {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	for batch := range 6 {
		values := words(5, fmt.Sprint(batch))
		if batch == 3 {
			values[2] = "poison"
		}
		put(t, p, "x", 0, values...)
	}
	return k
}

func deaths(t *testing.T, dir string) map[int64]int {
	t.Helper()
	b, err := OpenBreaker(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	list, err := b.Deaths()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[int64]int)
	for _, d := range list {
		if d.Partition != (pipeline.Partition{Topic: "x"}) || d.End <= d.Offset {
			t.Errorf("%+v", d)
		}
		found[d.Offset] = d.Count
	}
	return found
}

// A process that dies three times of the same records does not read them a
// fourth time, and says how to go on.
func TestRecordsThatKillAreRefused(t *testing.T) {
	for _, how := range []string{"kill", "panic"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			k, dir := poisoned(t), t.TempDir()
			for n := range deadly {
				if out, died := dying(t, k, dir, how, 15); !died {
					t.Fatalf("it lives the time %d: %s", n, out)
				}
				if d := cmp.Diff(map[int64]int{15: n + 1}, deaths(t, dir)); d != "" {
					t.Fatalf("death %d: %s", n+1, d)
				}
			}
			out, died := dying(t, k, dir, how, 15)
			const want = "stopped: kafka: events: x/0: offset 15: the process died 3 times while it worked on the records from there to 19; " +
				"an operator decides: once the cause is gone, lupa positions forgive --partition x/0; " +
				"to leave them out, lupa positions set --partition x/0 --next 20"
			if died || !strings.Contains(out, want) {
				t.Fatalf("%s\nwant %s", out, want)
			}
			// What stands before is read all the same.
			if out, _ := dying(t, k, dir, how, 5); !strings.Contains(out, want) {
				t.Fatal(out)
			}
			b, err := OpenBreaker(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Forgive(pipeline.Partition{Topic: "x"}); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if out, died := dying(t, k, dir, "lives", 5); died || !strings.Contains(out, "stopped: at the end") {
				t.Fatalf("after it was forgiven: %s", out)
			}
		})
	}
}

// Where a chunk begins differs from run to run. After a death batches come one
// by one, so that the deaths meet at the one that kills.
func TestDeathsMeetAtTheBatchThatKills(t *testing.T) {
	k, dir := poisoned(t), t.TempDir()
	runs := 0
	for ; runs < 8; runs++ {
		if out, died := dying(t, k, dir, "kill", int64(runs%4)); !died {
			if !strings.Contains(out, "x/0: offset 15: the process died 3 times") {
				t.Fatal(out)
			}
			break
		}
	}
	if runs != deadly+1 {
		t.Errorf("refused after %d deaths", runs)
	}
	// The first death, which said less, was taken back by the second run.
	if d := cmp.Diff(map[int64]int{15: 3}, deaths(t, dir)); d != "" {
		t.Error(d)
	}
}

// Who dies between chunks, or is stopped with an error, died of no record.
func TestDeathsBetweenChunksDoNotCount(t *testing.T) {
	t.Parallel()
	k, dir := poisoned(t), t.TempDir()
	for range 2 {
		if out, died := dying(t, k, dir, "after", 15); !died {
			t.Fatal(out)
		}
	}
	if got := deaths(t, dir); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// Who passes where others died takes the count back.
func TestSurvivalTakesDeathsBack(t *testing.T) {
	k, dir := poisoned(t), t.TempDir()
	for range 2 {
		if out, died := dying(t, k, dir, "kill", 15); !died {
			t.Fatal(out)
		}
	}
	if out, died := dying(t, k, dir, "lives", 0); died {
		t.Fatal(out)
	}
	if got := deaths(t, dir); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestRegistersOfLivingProcessesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	b, err := OpenBreaker(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.Partition{Topic: strings.Repeat("t", 249), ID: 7}
	w, err := b.watch([]pipeline.Partition{p})
	if err != nil {
		t.Fatal(err)
	}
	w.mark(p, 5, 9)
	other, err := OpenBreaker(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := other.Deaths(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := b.Close(); err == nil {
		t.Error("closed while a source reads")
	}
	info, err := b.file.Stat()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// As if it died: the lock is gone, the file is there.
	if err := errors.Join(unix.Munmap(b.mem), b.file.Close()); err != nil {
		t.Fatal(err)
	}
	if err := other.locked(other.sweep); err != nil {
		t.Fatal(err)
	}
	list, err := other.Deaths()
	if d := cmp.Diff([]Death{{p, 5, 9, 1}}, list); d != "" || err != nil {
		t.Error(d, err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	want := []string{filepath.Join(dir, "deaths.json"), filepath.Join(dir, "lock")}
	if d := cmp.Diff(want, left); d != "" || err != nil {
		t.Error(d, err)
	}
	for _, name := range want {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// Many breakers at once count every death once.
func TestBreakersShareTheirCounts(t *testing.T) {
	dir := t.TempDir()
	p := pipeline.Partition{Topic: "x"}
	const n = 8
	for i := range n {
		b, err := OpenBreaker(dir)
		if err != nil {
			t.Fatal(err)
		}
		w, err := b.watch(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.mark(p, 3, int64(4+i))
		defer func() { _ = b.file.Close() }()
	}
	// The locks of the living hold until here.
	registers, err := filepath.Glob(filepath.Join(dir, registerPrefix+"*"))
	if err != nil || len(registers) != n {
		t.Fatal(registers, err)
	}
	copies := t.TempDir()
	for i, name := range registers {
		raw, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(copies, fmt.Sprint(registerPrefix, i)), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			b, err := OpenBreaker(copies)
			if err == nil {
				err = b.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	b, err := OpenBreaker(copies)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	list, err := b.Deaths()
	if d := cmp.Diff([]Death{{p, 3, 3 + n, n}}, list); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestFilesOfCountsAreReadStrictly(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":           "x",
		"cut":                `{"version":1,"deaths":[`,
		"another version":    `{"version":2,"deaths":[]}`,
		"an unknown field":   `{"version":1,"deaths":[],"more":1}`,
		"a negative offset":  `{"version":1,"deaths":[{"topic":"x","partition":0,"offset":-1,"end":1,"count":1}]}`,
		"no topic":           `{"version":1,"deaths":[{"partition":0,"offset":1,"end":2,"count":1}]}`,
		"more than one":      `{"version":1,"deaths":[]}{}`,
		"an empty file":      "",
		"a negative count":   `{"version":1,"deaths":[{"topic":"x","partition":0,"offset":1,"end":1,"count":-1}]}`,
		"a count of letters": `{"version":1,"deaths":[{"topic":"x","partition":0,"offset":1,"end":1,"count":"secret"}]}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "deaths.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := OpenBreaker(dir)
		if err == nil {
			_, err = b.Deaths()
		}
		if err == nil || !strings.Contains(err.Error(), "deaths.json") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a register holds, reading it is safe.
func FuzzRegister(f *testing.F) {
	slot := make([]byte, slotBytes)
	(&watch{slot: slot}).mark(pipeline.Partition{Topic: "events", ID: 3}, 5, 9)
	f.Add(slot)
	f.Add(make([]byte, slotBytes))
	f.Fuzz(func(t *testing.T, raw []byte) {
		slot := make([]byte, slotBytes)
		copy(slot, raw)
		p, from, to, ok := inFlight(slot)
		if !ok {
			return
		}
		again := make([]byte, slotBytes)
		(&watch{slot: again}).mark(p, from, to)
		if p2, from2, to2, ok := inFlight(again); !ok || p2 != p || from2 != from || to2 != to {
			t.Fatal("what was in flight does not write back")
		}
	})
}

// The slots of a source come back when it is closed, also when its reading
// failed.
func TestSlotsComeBack(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	if err := producer(t, k).ProduceSync(bounded(t), &kgo.Record{Topic: "x", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBreaker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, k)
	p := pipeline.Partition{Topic: "x"}
	for range 3 {
		good, err := c.EventsOf([]string{"x"}, []pipeline.Partition{p})
		if err != nil {
			t.Fatal(err)
		}
		good.Guard(b)
		if err := good.Open(bounded(t), nil); err != nil {
			t.Fatal(err)
		}
		collect(t, good, map[int32]int64{0: 1})
		if err := errors.Join(good.Close(), good.Close()); err != nil {
			t.Fatal(err)
		}
		bad, err := c.EventsOf([]string{"x"}, []pipeline.Partition{p})
		if err != nil {
			t.Fatal(err)
		}
		bad.Guard(b)
		if err := bad.Open(bounded(t), pipeline.Positions{p: {Next: 99}}); err == nil {
			t.Fatal("opened")
		}
	}
	if len(b.free) != slots {
		t.Errorf("%d slots are left", len(b.free))
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkMark is what a chunk pays.
func BenchmarkMark(b *testing.B) {
	breaker, err := OpenBreaker(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	p := pipeline.Partition{Topic: "marketing-events", ID: 17}
	w, err := breaker.watch([]pipeline.Partition{p})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := range b.N {
		w.mark(p, int64(i), int64(i)+1)
		if err := w.passed(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRegisterHasItsRoom: who writes to the memory of a file that has no room on
// the disk is killed, so a disk that is full must be found out before.
func TestRegisterHasItsRoom(t *testing.T) {
	b, err := OpenBreaker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(b.file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	if room := 512 * stat.Blocks; room < stat.Size {
		t.Errorf("the register has %d bytes of room for %d", room, stat.Size)
	}
}
