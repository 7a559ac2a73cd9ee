package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lupa/connectors/kafka"
	"lupa/connectors/warehouse"
	"lupa/pipeline"
)

const setHelp = `Move the position of a partition, in every table or in some. Without --yes it
only shows what would become of the messages in between.

--next is an offset, start for the first that the topic has, or end for its
read-committed end as of now. What stands between the old position and a higher
one is left out for good: no row, count or reject is of it. Going back below a
position needs --allow-duplicates, for the rows are there already and would be
written a second time.

Of a topic that was made anew, or of another cluster, offsets begin anew too.
Rows of its messages then have the same _src_topic, _src_partition and
_src_offset as rows that are there already, of the messages of the topic before:
that needs --allow-duplicates as well. Where the topic had only been cut off,
what stands before the cut is read a second time. A new topic name avoids both.

The new position is verified by the next start like any other. A job that runs is
fenced off, and goes on from the new position. Should the command be interrupted,
the same command completes it. Every table keeps a record of the move with the
reason: one line of at most 200 characters, which is never deleted by itself.
Put no personal data in it; what looks like an e-mail address is refused.`

// setOptions are the flags of `lupa positions set`.
type setOptions struct {
	partition, next, reason string
	tables                  []string
	duplicates, yes, asJSON bool
}

func newPositionsSetCommand() *cobra.Command {
	var o setOptions
	var configFile string
	cmd := &cobra.Command{
		Use:   "set --partition TOPIC/NUMBER --next start|end|OFFSET --reason TEXT",
		Short: "move a position, and keep a record of it; first shows what that does",
		Long:  setHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, log, err := start(cmd, configFile)
			if err != nil {
				return err
			}
			return setPosition(cmd.Context(), cmd.OutOrStdout(), config, log, o)
		},
	}
	configFlag(cmd, &configFile)
	f := cmd.Flags()
	f.StringVar(&o.partition, "partition", "", "the partition: topic/number")
	f.StringVar(&o.next, "next", "", "the next offset to read: start, end or a number")
	f.StringVar(&o.reason, "reason", "", "why, for the record; no personal data")
	f.StringSliceVar(&o.tables, "table", nil, "only this table; may be given several times")
	f.BoolVar(&o.duplicates, "allow-duplicates", false, "go back to offsets that rows have already")
	f.BoolVar(&o.yes, "yes", false, "do it")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// decided reads the flags that set and forgive share.
func decided(config *Config, partition, reason string) (pipeline.Partition, error) {
	slash := strings.LastIndexByte(partition, '/')
	id, err := strconv.ParseInt(partition[slash+1:], 10, 32)
	if slash < 1 || err != nil || id < 0 {
		return pipeline.Partition{}, usageError("--partition %q: allowed is a topic and a number, such as events/3", partition)
	}
	p := pipeline.Partition{Topic: partition[:slash], ID: int32(id)}
	if config.Events.Kafka == nil || !slices.Contains(config.Events.Kafka.Topics, p.Topic) {
		return p, usageError("--partition %q: %s is none of the topics of events.kafka", partition, p.Topic)
	}
	if err := warehouse.CheckReason(reason); err != nil {
		return p, usageError("--reason: %v", err)
	}
	return p, nil
}

// span is what begins at one offset and ends before another.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (s span) count() int64 { return max(0, s.To-s.From) }

func (s span) orNil() *span {
	if s.count() == 0 {
		return nil
	}
	return &s
}

func (s span) String() string {
	if s.count() == 1 {
		return fmt.Sprintf("1 offset, %d", s.From)
	}
	return fmt.Sprintf("%d offsets, %d to %d", s.count(), s.From, s.To-1)
}

// setTable is what a move does to one table.
type setTable struct {
	Table   string `json:"table"`
	From    *int64 `json:"from"`
	Found   string `json:"found"`
	Lost    *span  `json:"lost,omitempty"`     // left out, and the topic has it no more
	LeftOut *span  `json:"left_out,omitempty"` // and the topic has it
	Again   *span  `json:"again,omitempty"`    // offsets that rows have already
	There   bool   `json:"there"`              // it stands there already

	index int
	at    *pipeline.Mark
}

// setResult is what `lupa positions set` does.
type setResult struct {
	Partition string     `json:"partition"`
	Start     int64      `json:"start"`
	End       int64      `json:"end"`
	Cluster   string     `json:"cluster"`
	To        int64      `json:"to"`
	Tables    []setTable `json:"tables"`
	Done      bool       `json:"done"`

	partition pipeline.Partition
	mark      pipeline.Mark
	subset    bool
	deaths    []kafka.Death
}

func setPosition(ctx context.Context, stdout io.Writer, config *Config, log *slog.Logger, o setOptions) (err error) {
	p, err := decided(config, o.partition, o.reason)
	if err != nil {
		return err
	}
	r, err := openTables(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	plan, err := r.planMove(ctx, p, o)
	if err != nil {
		return err
	}
	refused := plan.refusal(o.duplicates)
	if o.yes && refused == nil {
		if err := plan.do(ctx, r.sink, o.reason); err != nil {
			return runError(err)
		}
		plan.Done = true
	}
	if o.asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return errors.Join(e.Encode(plan), refused)
	}
	return errors.Join(plan.print(stdout, refused == nil), refused)
}

// planMove finds out what the move does.
func (r *rooms) planMove(ctx context.Context, p pipeline.Partition, o setOptions) (*setResult, error) {
	states, err := r.sink.States(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range o.tables {
		if !slices.ContainsFunc(states, func(s warehouse.TableState) bool { return s.Table == name }) {
			return nil, usageError("--table %q: there is no such table", name)
		}
	}
	deaths, err := deathsOf(r.config)
	if err != nil {
		return nil, err
	}
	cluster, err := r.events()
	if err != nil {
		return nil, err
	}
	logs, err := cluster.Logs(ctx, []pipeline.Partition{p})
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	plan := &setResult{Partition: p.String(), Cluster: logs.Cluster(), partition: p, subset: len(o.tables) > 0, deaths: deaths[p]}
	plan.Start, plan.End = logs.Of(p)
	if plan.To, err = nextOffset(o.next, plan); err != nil {
		return nil, err
	}
	if plan.mark, err = logs.Mark(ctx, p, plan.To); err != nil {
		return nil, err
	}
	for i, s := range states {
		if plan.subset && !slices.Contains(o.tables, s.Table) {
			continue
		}
		at := s.Partitions[p].Mark
		found, err := cause(ctx, logs, p, at)
		if err != nil {
			return nil, err
		}
		plan.add(i, s.Table, at, found)
	}
	return plan, nil
}

// nextOffset reads --next.
func nextOffset(text string, plan *setResult) (int64, error) {
	switch text {
	case "start":
		return plan.Start, nil
	case "end":
		return plan.End, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < plan.Start || n > plan.End {
		return 0, usageError("--next %q: allowed are start, end and the offsets from %d to %d", text, plan.Start, plan.End)
	}
	return n, nil
}

// add weighs what the move does to one table. Where its position is of another
// log, it says nothing of what of this one was read.
func (plan *setResult) add(index int, table string, at *pipeline.Mark, found string) {
	t := setTable{Table: table, From: nextOf(at), Found: found, There: at != nil && *at == plan.mark, index: index, at: at}
	from := plan.Start
	if at != nil {
		if t.sameLog() {
			from = at.Next
		}
		t.Again = span{plan.To, at.Next}.orNil()
	}
	t.Lost = span{from, min(plan.Start, plan.To)}.orNil()
	t.LeftOut = span{max(from, plan.Start), plan.To}.orNil()
	for _, d := range plan.deaths {
		if t.Found == foundFits && d.Deadly() && d.Offset >= from && d.Offset < plan.To {
			t.Found = foundPoisoned
		}
	}
	plan.Tables = append(plan.Tables, t)
}

func (t *setTable) sameLog() bool { return sameLog(t.Found) }

// sameLog reports whether a position is of the log that is there now.
func sameLog(found string) bool {
	return found == foundFits || found == foundPoisoned || found == foundDeleted
}

// refusal is why the move is not done, if it gives offsets a second time.
func (plan *setResult) refusal(allowed bool) error {
	for i := range plan.Tables {
		t := &plan.Tables[i]
		switch {
		case t.Again == nil || allowed:
		case t.sameLog():
			return withCode(exitData, fmt.Errorf("%s: table %s has the rows of %s: going back writes them a second time, which needs --allow-duplicates",
				plan.Partition, t.Table, t.Again))
		default:
			return withCode(exitData, fmt.Errorf("%s: table %s may have rows of %s, of another log: new rows will have the same _src_offset, "+
				"or be the same rows a second time if the topic had only been cut off; that needs --allow-duplicates", plan.Partition, t.Table, t.Again))
		}
	}
	return nil
}

// do moves the tables.
func (plan *setResult) do(ctx context.Context, sink *warehouse.Sink, reason string) error {
	m := warehouse.PositionMove{Partition: plan.partition, To: &plan.mark, Reason: reason, Version: versionLine(), Time: time.Now().Truncate(time.Millisecond)}
	for _, t := range plan.Tables {
		m.Tables = append(m.Tables, warehouse.Stand{Table: t.index, At: t.at, Found: t.Found})
	}
	done, err := sink.MovePosition(ctx, m)
	if err != nil && done > 0 {
		return fmt.Errorf("%w; %s moved before it, the same command completes the others", err, plural(done, "table"))
	}
	return err
}

// versionLine is what records say of this program.
func versionLine() string {
	b := readBuild()
	if b.Revision == "" {
		return b.Version
	}
	return b.Version + " " + b.Revision
}

func (plan *setResult) print(w io.Writer, may bool) error {
	var moves together
	for i := range plan.Tables {
		t := &plan.Tables[i]
		moves.add(t.Table, number(t.From), t.Found, number(&plan.To), t.effect())
	}
	has := "no messages"
	if all := (span{plan.Start, plan.End}); all.count() > 0 {
		has = all.String()
	}
	cluster := plan.Cluster
	if cluster == "" {
		cluster = "without a name"
	}
	if _, err := fmt.Fprintf(w, "%s has %s, in the cluster %s.\n\n", plan.Partition, has, cluster); err != nil {
		return err
	}
	all := len(plan.Tables)
	if plan.subset {
		all++ // so that they are named
	}
	if err := printTable(w, []string{">from", "found", ">to", "what becomes of it", "tables"}, moves.labelled(all)); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, plan.outcome(may))
	return err
}

// effect says what the move does, in words.
func (t *setTable) effect() string {
	var says []string
	if t.Lost != nil {
		says = append(says, "gives up "+t.Lost.String()+", which the topic no longer has")
	}
	if t.LeftOut != nil {
		says = append(says, "leaves out "+t.LeftOut.String())
	}
	if t.Again != nil && t.sameLog() {
		says = append(says, "reads "+t.Again.String()+", again: their rows are there already")
	} else if t.Again != nil {
		says = append(says, "gives "+t.Again.String()+", anew: rows of another log may have them")
	}
	switch {
	case t.There:
		return "stands there already"
	case len(says) == 0:
		return "leaves out nothing"
	}
	return strings.Join(says, "; ")
}

func (plan *setResult) outcome(may bool) string {
	moved := 0
	for _, t := range plan.Tables {
		if !t.There {
			moved++
		}
	}
	switch {
	case !may:
		return "\nNothing was changed.\n"
	case moved == 0:
		return "\nThere is nothing to do.\n"
	case !plan.Done:
		return "\nNothing was changed. The same command with --yes does it.\n"
	}
	text := fmt.Sprintf("\n%s moved, and recorded. A job that runs is fenced off and goes on from there.\n", plural(moved, "table"))
	for _, d := range plan.deaths {
		if d.Deadly() && d.Offset >= plan.To {
			text += fmt.Sprintf("Processes died %d times of what stands at offset %d: `lupa positions forgive --partition %s` lets it be read.\n", d.Count, d.Offset, plan.Partition)
		}
	}
	return text
}
