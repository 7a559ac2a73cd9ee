package kafka

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"lupa/pipeline"
)

// Death is how often processes died while they worked on the same records.
type Death struct {
	Partition pipeline.Partition
	Offset    int64 // of the first of the records
	End       int64 // the offset after the last of them
	Count     int
}

// Deadly reports whether the records are not read any more.
func (d Death) Deadly() bool { return d.Count >= deadly }

// tombs is the file of counts.
type tombs struct {
	Version int    `json:"version"`
	Deaths  []tomb `json:"deaths"`
}

type tomb struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	End       int64  `json:"end"`
	Count     int    `json:"count"`
}

const tombsVersion = 1

func (b *Breaker) path() string { return filepath.Join(b.dir, "deaths.json") }

// locked runs f while no other process, and no other breaker, does.
func (b *Breaker) locked(f func() error) (err error) {
	file, err := os.OpenFile(filepath.Join(b.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }() // which unlocks
	for {
		if err = unix.Flock(int(file.Fd()), unix.LOCK_EX); err == nil {
			return f()
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		}
	}
}

// sweep counts what dead processes had in flight and removes their registers,
// in this order: one who dies in between counts a death twice and forgets none.
func (b *Breaker) sweep() error {
	names, err := filepath.Glob(filepath.Join(b.dir, registerPrefix+"*"))
	if err != nil {
		return err
	}
	var died []Death
	var gone []string
	for _, name := range names {
		found, dead, err := autopsy(name)
		if err != nil {
			return err
		}
		if dead {
			gone = append(gone, name)
			died = append(died, found...)
		}
	}
	if len(died) > 0 {
		list, err := b.read()
		if err != nil {
			return err
		}
		if err := b.write(tally(list, died)); err != nil {
			return err
		}
	}
	for _, name := range gone {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// autopsy reads the register of a process that has died, and leaves one alone
// whose process lives.
func autopsy(name string) (died []Death, dead bool, err error) {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil // it was closed just now
	}
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	mem := make([]byte, len(registerMagic)+slots*slotBytes)
	n, err := file.ReadAt(mem, 0)
	if n < len(mem) || string(mem[:len(registerMagic)]) != registerMagic {
		return nil, true, nil // its process died before it had read anything, or it is none
	}
	if err != nil {
		return nil, false, err
	}
	for at := len(registerMagic); at < len(mem); at += slotBytes {
		if p, from, to, ok := inFlight(mem[at : at+slotBytes]); ok {
			died = append(died, Death{p, from, to, 1})
		}
	}
	return died, true, nil
}

// tally adds deaths to those that are known.
func tally(list, died []Death) []Death {
	for _, d := range died {
		i := slices.IndexFunc(list, func(o Death) bool { return o.Partition == d.Partition && o.Offset == d.Offset })
		if i < 0 {
			list = append(list, d)
			continue
		}
		list[i].Count += d.Count
		list[i].End = max(list[i].End, d.End)
	}
	return list
}

// forget removes counts.
func (b *Breaker) forget(which func(Death) bool) error {
	err := b.locked(func() error {
		list, err := b.read()
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(list), which)
		if len(left) == len(list) {
			return nil
		}
		return b.write(left)
	})
	if err != nil {
		return fmt.Errorf("kafka: breaker: %w", err)
	}
	return nil
}

// read gives the counts, which are none without a file.
func (b *Breaker) read() ([]Death, error) {
	raw, err := os.ReadFile(b.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var t tombs
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if d.Decode(&t) != nil || d.More() || t.Version != tombsVersion {
		return nil, fmt.Errorf("%s is not a file of counts: remove it to forget all deaths", b.path())
	}
	var list []Death
	for _, e := range t.Deaths {
		if e.Topic == "" || e.Partition < 0 || e.Offset < 0 || e.Count < 0 {
			return nil, fmt.Errorf("%s has an entry that is none: remove it", b.path())
		}
		list = append(list, Death{pipeline.Partition{Topic: e.Topic, ID: e.Partition}, e.Offset, max(e.End, e.Offset+1), e.Count})
	}
	return list, nil
}

// write replaces the file in one step.
func (b *Breaker) write(list []Death) (err error) {
	slices.SortFunc(list, func(a, b Death) int {
		return cmp.Or(byTopic(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	t := tombs{Version: tombsVersion, Deaths: []tomb{}}
	for _, d := range list {
		t.Deaths = append(t.Deaths, tomb{d.Partition.Topic, d.Partition.ID, d.Offset, d.End, d.Count})
	}
	raw, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(b.dir, "deaths-*.tmp") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(append(raw, '\n'))
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), b.path())
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
