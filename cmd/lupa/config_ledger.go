package main

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"lupa/schemas"
)

// readLedger reads where the ledger is and how it is read.
func (c *Config) readLedger(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		s := r.section(key, n, keySet{
			"file":       r.glob(&c.Ledger.File),
			"kafka":      c.readLedgerKafka(r),
			"encoding":   r.oneOf(&c.Ledger.Encoding, encodingJSON, encodingRegistry),
			"mapping":    r.mapping(&c.Ledger.Mapping),
			"vocabulary": r.path(&c.Ledger.Vocabulary),
			"ages":       r.path(&c.Ledger.Ages),
			"regions":    r.path(&c.Ledger.Regions),
			"max_linked": r.integer(&c.Ledger.MaxLinked, 2, 10_000),
			"shared":     r.kinds(&c.Ledger.Shared),
			"learn":      r.boolean(&c.Ledger.Learn),
			"snapshot": func(key string, n *yaml.Node) {
				c.Ledger.Snapshot = &SnapshotConfig{Interval: 30 * time.Minute}
				s := r.section(key, n, keySet{
					"dir":      r.path(&c.Ledger.Snapshot.Dir),
					"interval": r.duration(&c.Ledger.Snapshot.Interval, time.Second, 7*24*time.Hour),
				})
				r.need(s, key, n, "dir")
			},
		})
		r.exactlyOne(s, key, n, "file", "kafka")
		if c.Ledger.Kafka == nil {
			for _, name := range []string{"snapshot", "encoding"} {
				if s[name] != nil {
					r.problem(s[name], key+"."+name, "is for a ledger in kafka; a file is read whole each time")
				}
			}
			if c.Ledger.Learn {
				r.problem(s["learn"], key+".learn", "is for a ledger in kafka; a file cannot keep what events tell of")
			}
		}
	}
}

func (c *Config) readLedgerKafka(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		c.Ledger.Kafka = &LedgerKafka{}
		s := r.section(key, n, keySet{
			"brokers":       r.list(&c.Ledger.Kafka.Brokers, brokerForm),
			"topic":         r.text(&c.Ledger.Kafka.Topic, topicForm),
			"security":      r.security(&c.Ledger.Kafka.Security),
			"max_staleness": r.duration(&c.Ledger.Kafka.MaxStaleness, time.Second, 24*time.Hour),
			"strict":        r.boolean(&c.Ledger.Kafka.Strict),
		})
		r.need(s, key, n, "brokers", "topic")
	}
}

// mapping is a preset's name, or a file, which has a dot or a slash in its name.
func (r *configReader) mapping(dst *string) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, "a mapping file or the name of a preset")
		if !ok {
			return
		}
		if strings.ContainsAny(v, "./") {
			v = r.resolve(v)
		}
		*dst = v
	}
}

func (r *configReader) kinds(dst *[]schemas.IdentifierKind) setter {
	return func(key string, n *yaml.Node) {
		r.each(key, n, "identifier kinds", func(key string, item *yaml.Node) {
			v, ok := r.scalar(key, item, "an identifier kind")
			if !ok {
				return
			}
			kind, ok := schemas.ParseIdentifierKind(v)
			if !ok {
				r.problem(item, key, "%q is no identifier kind; allowed are %s", v, strings.Join(schemas.IdentifierKinds(), ", "))
				return
			}
			*dst = append(*dst, kind)
		})
	}
}
