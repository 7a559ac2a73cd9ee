package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"lupa/connectors/kafka"
	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/schemas"
)

func newLedgerSnapshotCommand() *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "bring the snapshot of the ledger up to date",
		Long: `Snapshot reads the ledger to its present end, from the snapshot of ledger.snapshot
if there is one that fits, and writes it anew. A stream does so by itself now and
then; this is for before the first start, and for whoever starts often. A snapshot
that is damaged, too old or of another ledger is left out, and says why.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			config, log, err := start(cmd, configFile)
			if err != nil {
				return err
			}
			if config.Ledger.Snapshot == nil {
				return usageError("%s: ledger.snapshot is not there, so it is not known where the snapshot would be", config.File)
			}
			r, err := openView(cmd.Context(), config, log, true)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.close()) }()
			size, err := r.keeper.write(cmd.Context())
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s identifiers\n", r.keeper.path, humanize.IBytes(uint64(size)), humanize.Comma(r.view.Stats().Identifiers))
			}
			return err
		},
	}
	configFlag(cmd, &configFile)
	return cmd
}

// keeper keeps the state of a topic's ledger on disk between two runs.
type keeper struct {
	path  string
	view  *consent.View
	from  *kafka.Ledger
	words consent.Anchor // what must be the same
	log   *slog.Logger
}

// snapshotFile is the snapshot of a topic.
func snapshotFile(c *LedgerConfig) string {
	return filepath.Join(c.Snapshot.Dir, "ledger-"+c.Kafka.Topic+".snapshot")
}

// words says by what a view reads and decides, as far as its state depends on it:
// what a snapshot was made by must be the same.
func (r *rooms) words(tables *ledgerTables, domain consent.Tokens) (consent.Anchor, error) {
	c := &r.config.Ledger
	h := sha256.New()
	v, a, g := tables.vocabulary.Hash(), tables.ages.Hash(), tables.regions.Hash()
	fmt.Fprintf(h, "%+v\n%x\n%x\n%x\n%s\n%s\n%d\n%v\n%s\n", readBuild(), v, a, g, r.config.Warehouse.Region, c.Encoding, c.MaxLinked, c.Shared, c.Mapping)
	if strings.ContainsAny(c.Mapping, "./") {
		text, err := os.ReadFile(c.Mapping)
		if err != nil {
			return consent.Anchor{}, fmt.Errorf("mapping: %w", err)
		}
		h.Write(text)
	}
	// A token tells the key that made it from every other, and nothing more. Phone
	// numbers depend on the region by which they are read.
	probe := domain.Token(schemas.UserID, []byte("snapshot"))
	phone := domain.Token(schemas.Phone, []byte("0401234567"))
	return consent.Anchor{
		Keys: hex.EncodeToString(probe[:]) + hex.EncodeToString(phone[:]), KeyEpoch: r.keys.Epoch(),
		Words: hex.EncodeToString(h.Sum(nil)),
	}, nil
}

// abandoned is when what is left of a snapshot is no longer being written.
const abandoned = 24 * time.Hour

// sweep removes what processes that were killed have left of snapshots.
func (k *keeper) sweep() {
	parts, err := filepath.Glob(k.path + ".*.part")
	if err != nil {
		k.log.Warn("what is left of snapshots of the ledger cannot be looked for", "file", k.path, "why", err)
	}
	for _, part := range parts {
		info, err := os.Stat(part)
		if err == nil && time.Since(info.ModTime()) > abandoned {
			err = os.Remove(part)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.log.Warn("what is left of a snapshot of the ledger cannot be removed", "file", part, "why", err)
		}
	}
}

// load gives the view of the snapshot and the state that it is of, or nil when
// there is none that can be used.
func (k *keeper) load(ctx context.Context, tokens consent.Tokens, o consent.Options) (*consent.View, *kafka.LedgerState) {
	f, err := os.Open(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var view *consent.View
	var at consent.Anchor
	if err == nil {
		defer f.Close() // nothing was written
		view, at, err = consent.LoadSnapshot(ctx, f, tokens, o, k.words)
	}
	var state *kafka.LedgerState
	if err == nil {
		state, err = stateOf(&at)
	}
	if err != nil {
		k.log.Warn("the snapshot of the ledger is not used; the topic is read from its beginning", "file", k.path, "why", err)
		if view != nil {
			view.Close()
		}
		return nil, nil
	}
	return view, state
}

// idSeparator stands between a topic's id and the time of a snapshot.
const idSeparator = " "

// anchor says what a snapshot is of.
func (k *keeper) anchor(s kafka.LedgerState) consent.Anchor {
	at := k.words
	at.Cluster = s.Cluster
	at.Topics = map[string]string{s.Topic: hex.EncodeToString(s.TopicID[:]) + idSeparator + s.Time.UTC().Format(time.RFC3339Nano)}
	at.Ledger, at.Marks = pipeline.Vector{}, map[pipeline.Partition]string{}
	for p, mark := range s.Marks {
		at.Ledger[p] = mark.Next
		at.Marks[p] = mark.Anchor
	}
	return at
}

var errNoState = errors.New("it does not say what it is of")

// stateOf is the inverse of anchor.
func stateOf(at *consent.Anchor) (*kafka.LedgerState, error) {
	s := &kafka.LedgerState{Cluster: at.Cluster, Marks: pipeline.Positions{}}
	for topic, text := range at.Topics {
		id, written, ok := strings.Cut(text, idSeparator)
		raw, err := hex.DecodeString(id)
		if !ok || err != nil || len(raw) != len(s.TopicID) {
			return nil, errNoState
		}
		s.Topic = topic
		copy(s.TopicID[:], raw)
		if s.Time, err = time.Parse(time.RFC3339Nano, written); err != nil {
			return nil, errNoState
		}
	}
	for p, next := range at.Ledger {
		s.Marks[p] = pipeline.Mark{Next: next, Anchor: at.Marks[p]}
	}
	return s, nil
}

// reaches reports whether the view of a snapshot knows all that is late for the
// tables.
func reaches(view *consent.View, s *kafka.LedgerState, reviewed func(topic string, partition int32) int64) bool {
	for p := range s.Marks {
		if reviewed(p.Topic, p.ID) < view.LateSince(p.Topic, p.ID) {
			return false
		}
	}
	return true
}

// write writes the state as it is now.
func (k *keeper) write(ctx context.Context) (size int64, err error) {
	k.sweep()
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	var snapshot *consent.Snapshot
	err = k.from.Still(ctx, func(s kafka.LedgerState) (err error) {
		snapshot, err = k.view.Freeze(k.anchor(s))
		return err
	})
	if err != nil {
		return 0, err
	}
	return snapshot.Write(ctx, k.path)
}

// refreshed is how old a snapshot gets in which nothing is missing: of a compacted
// topic one is of no use once tombstones may be gone that it does not have.
const refreshed = 3 * time.Hour

// due reports whether there is something new, or the last snapshot gets old.
func due(now, written int64, age time.Duration) bool { return now != written || age >= refreshed }

// keep writes the state now and then, when there is something new or the last one
// gets old, until the function that it gives is called.
func (k *keeper) keep(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		var last time.Time
		for written := int64(-1); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			s := k.view.Stats()
			now := s.Records + s.Tombstones + s.Markers + s.Unreadable
			began := time.Now()
			if !due(now, written, began.Sub(last)) {
				continue
			}
			switch size, err := k.write(ctx); {
			case ctx.Err() != nil:
			case err != nil:
				k.log.Warn("the snapshot of the ledger was not written, the next time will", "file", k.path, "why", err)
			default:
				written, last = now, began
				k.log.Info("snapshot of the ledger written", "file", k.path, "bytes", size, "seconds", time.Since(began).Seconds())
			}
		}
	}()
	return func() { cancel(); <-done }
}
