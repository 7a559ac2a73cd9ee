package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lupa/connectors/kafka"
	"lupa/connectors/warehouse"
	"lupa/pipeline"
)

const positionsHelp = `List where every table stands in every partition, and change nothing.

  next      the next offset to read; - where nothing was committed yet
  lag       offsets from there to the read-committed end of the topic; - where
            that is not known, or the position is of another log
  left      offsets from the start of the log to there; below 0, data was lost
  found     fits; unread; deleted: what stands there was deleted before it was
            read; recreated: the topic was made anew or cut off; other_cluster;
            gone: the topic has no such partition; unknown: the brokers could
            not be asked, or it is a file
  cluster   of the position
  claim     how often the partition was claimed, and the last owner's name
  deaths    how often processes died of the records at an offset; the third
            death at one holds the partition

A job does not start with a position that does not fit, nor go past records
that kill. It says so, ends with exit code 3, and resets nothing: an operator
decides, with set or forgive, and every table keeps a record of what was decided,
which this list ends with.`

// What is found of a position, besides what kafka.PositionError.Cause gives.
const (
	foundFits     = "fits"
	foundUnread   = "unread"
	foundDeleted  = "deleted" // which is a Cause
	foundPoisoned = "poisoned"
	foundGone     = "gone"
	foundUnknown  = "unknown"
)

func newPositionsCommand() *cobra.Command {
	var configFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "positions",
		Short: "list the positions of the tables, and move them where a job cannot go on",
		Long:  positionsHelp,
	}
	needsSubcommand(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, log, err := start(cmd, configFile)
		if err != nil {
			return err
		}
		return listPositions(cmd.Context(), cmd.OutOrStdout(), config, log, asJSON)
	}
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	cmd.AddCommand(newPositionsSetCommand(), newPositionsForgiveCommand())
	return cmd
}

// listedPartition is a partition as `lupa positions --json` prints it.
type listedPartition struct {
	Partition string        `json:"partition"`
	Start     *int64        `json:"start,omitempty"` // of the log; absent if the brokers could not be asked
	End       *int64        `json:"end,omitempty"`
	Cluster   string        `json:"cluster,omitempty"`
	Deaths    []listedDeath `json:"deaths,omitempty"`
	Tables    []listedTable `json:"tables"`
}

type listedDeath struct {
	Offset int64 `json:"offset"`
	End    int64 `json:"end"`
	Count  int   `json:"count"`
}

// listedTable is where a table stands in a partition.
type listedTable struct {
	Table   string `json:"table"`
	Next    *int64 `json:"next"`
	Lag     *int64 `json:"lag,omitempty"`
	Left    *int64 `json:"left,omitempty"`
	Found   string `json:"found"`
	Cluster string `json:"cluster,omitempty"`
	Claim   int64  `json:"claim"`
	Owner   string `json:"owner,omitempty"`
}

// listedMove is a record of what an operator decided.
type listedMove struct {
	Table     string    `json:"table"`
	Partition string    `json:"partition"`
	From      *int64    `json:"from"`
	To        *int64    `json:"to"`
	Found     string    `json:"found"`
	Reason    string    `json:"reason"`
	Version   string    `json:"version"`
	Time      time.Time `json:"time"`
}

// positionList is what the command prints.
type positionList struct {
	Partitions []listedPartition `json:"partitions"`
	Moves      []listedMove      `json:"moves"`
	// Dropped counts the older moves whose records are gone.
	Dropped int `json:"moves_dropped"`
}

func listPositions(ctx context.Context, stdout io.Writer, config *Config, log *slog.Logger, asJSON bool) (err error) {
	r, err := openTables(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	states, err := r.sink.States(ctx)
	if err != nil {
		return err
	}
	deaths, err := deathsOf(config)
	if err != nil {
		return err
	}
	list := &positionList{Partitions: []listedPartition{}, Moves: movesOf(states)}
	for _, s := range states {
		list.Dropped += s.Moves - len(s.Moved)
	}
	topics := groupByTopic(states, deaths)
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		parts := topics[topic]
		ask := r.ask(ctx, topic, parts)
		for _, p := range parts {
			list.Partitions = append(list.Partitions, ask.list(ctx, p, states, deaths[p]))
		}
		ask.close()
	}
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(list)
	}
	return list.print(stdout, len(states))
}

// deathsOf gives what the breaker counts, by partition. A breaker that was
// never opened counts nothing.
func deathsOf(config *Config) (map[pipeline.Partition][]kafka.Death, error) {
	found := map[pipeline.Partition][]kafka.Death{}
	if _, err := os.Stat(breakerDir(config)); errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	breaker, err := kafka.OpenBreaker(breakerDir(config))
	if err != nil {
		return nil, err
	}
	list, err := breaker.Deaths()
	if err = errors.Join(err, breaker.Close()); err != nil {
		return nil, err
	}
	for _, d := range list {
		if d.Count > 0 {
			found[d.Partition] = append(found[d.Partition], d)
		}
	}
	return found, nil
}

// groupByTopic gives every partition that anything is known of.
func groupByTopic(states []warehouse.TableState, deaths map[pipeline.Partition][]kafka.Death) map[string][]pipeline.Partition {
	known := map[pipeline.Partition]bool{}
	for _, s := range states {
		for p := range s.Partitions {
			known[p] = true
		}
	}
	for p := range deaths {
		known[p] = true
	}
	topics := map[string][]pipeline.Partition{}
	for p := range known {
		topics[p.Topic] = append(topics[p.Topic], p)
	}
	for _, parts := range topics {
		slices.SortFunc(parts, func(a, b pipeline.Partition) int { return cmp.Compare(a.ID, b.ID) })
	}
	return topics
}

// askTimeout bounds how long the brokers may take to answer about one topic.
const askTimeout = 10 * time.Second

// asked is what the brokers tell of a topic.
type asked struct {
	log  *slog.Logger
	logs *kafka.Logs     // nil if they do not tell, or it is a file
	ends pipeline.Vector // of all partitions that there are
}

// ask asks about partitions of a topic.
func (r *rooms) ask(ctx context.Context, topic string, parts []pipeline.Partition) *asked {
	a := &asked{log: r.log}
	if k := r.config.Events.Kafka; k == nil || !slices.Contains(k.Topics, topic) {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cluster, err := r.events()
	if err == nil {
		a.ends, err = cluster.EndOffsets(ctx, topic)
	}
	there := slices.DeleteFunc(slices.Clone(parts), func(p pipeline.Partition) bool { _, ok := a.ends[p]; return !ok })
	if err == nil && len(there) > 0 {
		a.logs, err = cluster.Logs(ctx, there)
	}
	if err != nil {
		r.log.Warn("brokers do not tell what there is of a topic", "topic", topic, "error", err)
	}
	return a
}

func (a *asked) close() {
	if a.logs != nil {
		a.logs.Close()
	}
}

// list tells where the tables stand in a partition.
func (a *asked) list(ctx context.Context, p pipeline.Partition, states []warehouse.TableState, deaths []kafka.Death) listedPartition {
	l := listedPartition{Partition: p.String()}
	for _, d := range deaths {
		l.Deaths = append(l.Deaths, listedDeath{d.Offset, d.End, d.Count})
	}
	_, there := a.ends[p]
	there = there && a.logs != nil
	if there {
		start, end := a.logs.Of(p)
		l.Start, l.End, l.Cluster = &start, &end, a.logs.Cluster()
	}
	found := map[pipeline.Mark]string{} // tables mostly stand at the same
	for _, s := range states {
		at := s.Partitions[p]
		t := listedTable{Table: s.Table, Found: foundUnread, Claim: at.Epoch, Owner: at.Owner}
		if m := at.Mark; m != nil {
			t.Next, t.Cluster = &m.Next, kafka.ClusterOf(*m)
			if found[*m] == "" {
				found[*m] = a.found(ctx, p, m)
			}
			t.Found = found[*m]
			if there && sameLog(t.Found) {
				lag, left := *l.End-m.Next, m.Next-*l.Start
				t.Lag, t.Left = &lag, &left
			}
		}
		l.Tables = append(l.Tables, t)
	}
	return l
}

func (a *asked) found(ctx context.Context, p pipeline.Partition, m *pipeline.Mark) string {
	_, is := a.ends[p]
	switch {
	case a.ends != nil && !is:
		return foundGone
	case a.logs == nil:
		return foundUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := cause(ctx, a.logs, p, m)
	if err != nil {
		a.log.Warn("brokers do not tell whether a position fits", "partition", p.String(), "error", err)
		return foundUnknown
	}
	return found
}

// cause is what is found of a position.
func cause(ctx context.Context, logs *kafka.Logs, p pipeline.Partition, m *pipeline.Mark) (string, error) {
	if m == nil {
		return foundUnread, nil
	}
	err := logs.Check(ctx, p, *m)
	if gone := (*kafka.PositionError)(nil); errors.As(err, &gone) {
		return gone.Cause(), nil
	}
	return foundFits, err
}

func movesOf(states []warehouse.TableState) []listedMove {
	list := []listedMove{}
	for _, s := range states {
		for _, m := range s.Moved {
			list = append(list, listedMove{
				s.Table, m.Partition.String(), nextOf(m.From), nextOf(m.To), m.Found, m.Reason, m.Version, m.Time,
			})
		}
	}
	slices.SortStableFunc(list, func(a, b listedMove) int { return a.Time.Compare(b.Time) })
	return list
}

func nextOf(m *pipeline.Mark) *int64 {
	if m == nil {
		return nil
	}
	return &m.Next
}

// print writes one line for the tables that stand alike.
func (l *positionList) print(w io.Writer, tables int) error {
	var rows, moves together
	for _, p := range l.Partitions {
		for _, t := range p.Tables {
			owner, _, _ := strings.Cut(t.Owner, "-")
			rows.add(t.Table, p.Partition, number(t.Next), number(t.Lag), number(t.Left), t.Found, cmp.Or(t.Cluster, "-"),
				strings.TrimSpace(fmt.Sprint(t.Claim, " ", owner)), p.deaths())
		}
	}
	for _, m := range l.Moves {
		moves.add(m.Table, m.Time.UTC().Format("2006-01-02T15:04:05.000Z"), m.Partition, number(m.From), number(m.To), m.Found, m.Reason)
	}
	if len(rows.rows) == 0 {
		_, err := fmt.Fprintln(w, "No table has a position or a claim.")
		return err
	}
	header := []string{"partition", ">next", ">lag", ">left", "found", "cluster", "claim", "deaths", "tables"}
	if err := printTable(w, header, rows.labelled(tables)); err != nil {
		return err
	}
	if len(l.Moves) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w, "\nWhat operators decided:"); err != nil {
		return err
	}
	if err := printTable(w, []string{"time", "partition", ">from", ">to", "found", "reason", "tables"}, moves.labelled(tables)); err != nil {
		return err
	}
	if l.Dropped == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%d records of earlier ones are gone.\n", l.Dropped)
	return err
}

func (p *listedPartition) deaths() string {
	var list []string
	for _, d := range p.Deaths {
		list = append(list, fmt.Sprintf("%d at %d", d.Count, d.Offset))
	}
	return cmp.Or(strings.Join(list, ", "), "-")
}

func number(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

// together are rows that several tables share.
type together struct {
	rows   [][]string
	tables [][]string
	index  map[string]int
}

func (t *together) add(table string, row ...string) {
	key := strings.Join(row, "\x00")
	i, ok := t.index[key]
	if !ok {
		if t.index == nil {
			t.index = map[string]int{}
		}
		i = len(t.rows)
		t.index[key] = i
		t.rows, t.tables = append(t.rows, row), append(t.tables, nil)
	}
	t.tables[i] = append(t.tables[i], table)
}

// labelled are the rows with the names of their tables at the end; all stands
// for as many as there are.
func (t *together) labelled(all int) [][]string {
	for i, names := range t.tables {
		label := "all"
		if len(slices.Compact(slices.Sorted(slices.Values(names)))) < all {
			label = strings.Join(names, " ")
		}
		t.rows[i] = append(t.rows[i], label)
	}
	return t.rows
}
