package kafka

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"lupa/pipeline"
)

// floors are the oldest versions that Apache Kafka 4.0 answers.
var floors = map[kmsg.Key]int16{
	kmsg.Produce: 3, kmsg.Fetch: 4, kmsg.ListOffsets: 1, kmsg.Metadata: 0, kmsg.OffsetCommit: 2, kmsg.OffsetFetch: 1,
	kmsg.FindCoordinator: 0, kmsg.JoinGroup: 2, kmsg.Heartbeat: 0, kmsg.LeaveGroup: 0, kmsg.SyncGroup: 0,
	kmsg.DescribeGroups: 0, kmsg.ApiVersions: 0, kmsg.CreateTopics: 2, kmsg.DescribeConfigs: 1, kmsg.InitProducerID: 0,
}

// Whatever this package asks, from making a topic to leaving a group, is in a
// version that a broker of 4.0 still and one of 2.1 already answers.
func TestEveryRequestIsBetweenFloorAndCeiling(t *testing.T) {
	for name, versions := range map[string]*kversion.Versions{"2.1": kversion.V2_1_0(), "4.0": kversion.V4_0_0()} {
		t.Run(name, func(t *testing.T) {
			k := groupFake(t, kfake.MaxVersions(versions))
			var mu sync.Mutex
			asked := make(map[kmsg.Key]bool)
			k.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
				mu.Lock()
				defer mu.Unlock()
				key, version := kmsg.Key(r.Key()), r.GetVersion()
				asked[key] = true
				floor, known := floors[key]
				ceiling, ok := versions.LookupMaxKeyVersion(r.Key())
				if !known || !ok || version < floor || version > ceiling {
					t.Errorf("%s v%d is asked; v%d to v%d is answered", key.Name(), version, floor, ceiling)
				}
				return nil, nil, false
			})
			everything(t, k)
			mu.Lock()
			defer mu.Unlock()
			for _, key := range []kmsg.Key{
				kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata, kmsg.FindCoordinator, kmsg.JoinGroup, kmsg.SyncGroup,
				kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetFetch, kmsg.CreateTopics, kmsg.DescribeConfigs,
			} {
				if !asked[key] {
					t.Errorf("%s was not asked: nothing is shown of it", key.Name())
				}
			}
			if asked[kmsg.OffsetCommit] {
				t.Error("offsets were committed")
			}
		})
	}
}

// everything goes through all that this package does with brokers.
func everything(t *testing.T, k *kfake.Cluster) {
	beats := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Observe: true, Count: -1})
	c := connect(t, k)
	for _, name := range []string{"events", "ledger"} {
		if err := c.CreateTopic(bounded(t), name, 2, nil); err != nil {
			t.Fatal(err)
		}
	}
	p := c.Producer()
	defer p.Close()
	for _, name := range []string{"events", "ledger"} {
		if err := p.Produce(bounded(t), name, [][]byte{[]byte("k"), []byte("l")}, [][]byte{[]byte("v"), []byte("w")}); err != nil {
			t.Fatal(err)
		}
	}
	l := followTopic(t, c, "ledger", &table{}, LedgerOptions{})
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	g, err := c.Group([]string{"events"}, quick("g"))
	if err != nil {
		t.Fatal(err)
	}
	var marks pipeline.Positions
	for range 2 {
		a, err := g.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		e, err := c.EventsOf([]string{"events"}, a.Partitions)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Open(bounded(t), marks); err != nil {
			t.Fatal(err)
		}
		e.fetcher.prove = 0
		for marks == nil {
			chunk, err := e.Next(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			if chunk != nil {
				marks = pipeline.Positions{chunk.Partition: chunk.Next}
			}
		}
		if err := beats.Wait(bounded(t), 1); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		a.Release()
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// damage listens for brokers whose answers it damages on the way.
type damage struct {
	mu    sync.Mutex
	spoil func(frame []byte) []byte // gives what is sent; nil closes the connection
}

func (d *damage) set(f func([]byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoil = f
}

func (d *damage) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return &damagedListener{l, d}, err
}

type damagedListener struct {
	net.Listener
	d *damage
}

func (l *damagedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &damagedConn{Conn: conn, d: l.d}, nil
}

type damagedConn struct {
	net.Conn
	d   *damage
	out []byte
}

// Write passes on whole frames.
func (c *damagedConn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	for len(c.out) >= 4 {
		size := 4 + int(binary.BigEndian.Uint32(c.out))
		if len(c.out) < size {
			break
		}
		frame := bytes.Clone(c.out[:size])
		c.out = c.out[size:]
		c.d.mu.Lock()
		spoil := c.d.spoil
		c.d.mu.Unlock()
		if spoil != nil {
			if frame = spoil(frame); frame == nil {
				return 0, errors.Join(errors.New("cut"), c.Conn.Close())
			}
		}
		if _, err := c.Conn.Write(frame); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// marked are the values of the damaged topic. Only answers that hold them, and
// so are answers to fetches, are damaged.
const damageMark = "the value that is damaged"

func damaged(t *testing.T) (*Cluster, *damage, []message) {
	d := &damage{}
	k := fake(t, kfake.NumBrokers(1), kfake.ListenFn(d.listen))
	topic(t, k, "x", 1, "delete")
	p := producer(t, k, kgo.ProducerBatchCompression(kgo.NoCompression()))
	var want []message
	for batch := range 4 {
		values := words(3, fmt.Sprint(damageMark, batch, strings.Repeat(" ", 400)))
		put(t, p, "x", 0, values...)
		want = append(want, messagesFrom(int64(3*batch), values...)...)
	}
	return connect(t, k, func(o *Options) { o.FetchWait, o.FetchBytes = 10*time.Millisecond, 1<<10 }), d, want
}

// first spoils only so many answers to fetches.
func first(n int64, f func([]byte) []byte) (func([]byte) []byte, *atomic.Int64) {
	var done atomic.Int64
	return func(frame []byte) []byte {
		if !bytes.Contains(frame, []byte(damageMark)) || done.Add(1) > n {
			return frame
		}
		return f(frame)
	}, &done
}

// Damage on the way is fetched again; when it stays the run ends. Neither is
// ever data.
func TestDamageOnTheWayIsNeverData(t *testing.T) {
	for name, f := range map[string]func([]byte) []byte{
		"a flipped bit of a value": func(b []byte) []byte {
			b[bytes.Index(b, []byte(damageMark))+5] ^= 4
			return b
		},
		"a cut answer": func(b []byte) []byte { return nil },
		"half an answer": func(b []byte) []byte {
			binary.BigEndian.PutUint32(b, uint32(len(b)/2-4))
			return b[:len(b)/2]
		},
		"a length that is too small": func(b []byte) []byte {
			binary.BigEndian.PutUint32(b, uint32(len(b)-4-7))
			return b
		},
		"a length beyond all limits": func(b []byte) []byte {
			binary.BigEndian.PutUint32(b, 1<<31-1)
			return b
		},
		"a negative length": func(b []byte) []byte {
			binary.BigEndian.PutUint32(b, 1<<32-5)
			return b
		},
		"another's answer": func(b []byte) []byte {
			b[7]++
			return b
		},
		"a base offset that is not the broker's": func(b []byte) []byte {
			b[batchAt(b)+7] ^= 1
			return b
		},
		"a base offset that is lower": func(b []byte) []byte {
			if at := batchAt(b); b[at+7] > 0 {
				b[at+7]--
			}
			return b
		},
		"a magic of long ago": func(b []byte) []byte {
			b[batchAt(b)+16] = 1
			return b
		},
		"a batch length that is too long": func(b []byte) []byte {
			b[batchAt(b)+11]++
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, d, want := damaged(t)
			spoil, _ := first(3, f)
			d.set(spoil)
			e := open(t, c, nil, "x")
			if diff := cmp.Diff(want, collect(t, e, map[int32]int64{0: 12})[0]); diff != "" {
				t.Fatal(diff)
			}
			e.Close()
			if name == "a cut answer" {
				return // brokers restart: that is waited out for as long as it takes
			}
			spoil, times := first(1<<30, f)
			d.set(spoil)
			n, err := readUntilError(t, open(t, c, nil, "x"))
			intact := 0
			if strings.HasSuffix(name, "lower") {
				intact = 3 // there is no lower one than that of the first batch
			}
			if n != intact || err == nil || strings.Contains(err.Error(), damageMark) {
				t.Errorf("%d messages before %v", n, err)
			}
			if times.Load() < corruptTries {
				t.Errorf("gave up after %d answers: %v", times.Load(), err)
			}
		})
	}
}

// batchAt is where the first batch of an answer begins: before its first
// record, of which two bytes of length, three of one byte each, a missing key
// and two of length stand before the value.
func batchAt(b []byte) int {
	return bytes.Index(b, []byte(damageMark)) - 8 - batchHeader
}

// Any one bit of any answer to a fetch may flip. What is handed over is right
// all the same, as far as it goes.
func TestAnyFlippedBitIsNeverData(t *testing.T) {
	c, d, want := damaged(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	whole := 0
	for trial := range 60 {
		spoil, _ := first(1, func(b []byte) []byte {
			bit := r.IntN(8 * (len(b) - 4)) // a length that grew would be waited for
			b[4+bit/8] ^= 1 << (bit % 8)
			return b
		})
		d.set(spoil)
		e := open(t, c, nil, "x")
		var got []message
		for len(got) < len(want) {
			chunk, err := e.Next(bounded(t))
			if err != nil {
				break // an error code that is for good, say
			}
			if chunk == nil {
				continue
			}
			for i, v := range chunk.Values {
				got = append(got, message{chunk.Offsets[i], string(span2bytes(chunk.Arena, v))})
			}
		}
		e.Close()
		if !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("trial %d: %s", trial, cmp.Diff(want[:len(got)], got))
		}
		if len(got) == len(want) {
			whole++
		}
	}
	if whole < 45 {
		t.Errorf("only %d of 60 runs came to the end", whole)
	}
}

// Bombs of every codec end the run, and the process stays small.
func TestBombsStaySmall(t *testing.T) {
	for _, codec := range []compress.Compression{compress.Zstd, compress.Gzip, compress.Lz4, compress.Snappy} {
		t.Run(codec.String(), func(t *testing.T) {
			payload := zeros(t, codec, 512<<20)
			if codec == compress.Snappy {
				// Its blocks say what they hold, and a bomb says 3 GiB.
				payload = append(binary.AppendUvarint(nil, 3<<30), 0, 0)
			}
			k := fake(t, kfake.NumBrokers(1))
			topic(t, k, "x", 1, "delete")
			(&script{end: 1, batches: [][]byte{made{attributes: int16(codec), count: 1, payload: payload}.encode()}}).install(k)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBombedProcess$", "-test.count=1")
			cmd.Env = append(os.Environ(), "LUPA_TEST_BOMBED="+strings.Join(k.ListenAddrs(), ","))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var peak int
			for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
				if rest, ok := strings.CutPrefix(s.Text(), "bombed: "); ok {
					if peak, err = strconv.Atoi(rest); err != nil {
						t.Fatal(err)
					}
				}
			}
			if peak == 0 {
				t.Fatalf("the process says nothing of its memory: %s", out)
			}
			t.Logf("%d MiB", peak>>20)
			if peak > 150<<20 && !raced() {
				t.Errorf("the process took %d MiB", peak>>20)
			}
		})
	}
}

// raced reports whether this is a build with the race detector, which takes
// several times the memory.
func raced() bool {
	exe, err := os.Open(os.Args[0])
	if err != nil {
		return false
	}
	defer exe.Close()
	all, err := io.ReadAll(exe)
	return err == nil && bytes.Contains(all, []byte("__tsan_init"))
}

// TestBombedProcess is the process that is sent a bomb.
func TestBombedProcess(t *testing.T) {
	addresses := os.Getenv("LUPA_TEST_BOMBED")
	if addresses == "" {
		return // not a child of another test
	}
	c, err := New(Options{Brokers: strings.Split(addresses, ",")})
	if err != nil {
		t.Fatal(err)
	}
	n, err := readUntilError(t, open(t, c, nil, "x"))
	if n != 0 || !errors.Is(err, errBomb) {
		t.Fatalf("%d messages, %v", n, err)
	}
	fmt.Println("bombed:", peak(t))
}
