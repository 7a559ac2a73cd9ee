package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/bmatcuk/doublestar/v4"
	"github.com/nyaruka/phonenumbers"
	"go.yaml.in/yaml/v3"

	"lupa/schemas"
)

// exampleConfig is the annotated example that `lupa check --example` prints.
//
//go:embed example.yaml
var exampleConfig []byte

// Config is one configuration file with its defaults filled in. It is read
// once and never changed; every path in it is absolute or relative to the
// working directory, no longer to the file's folder.
type Config struct {
	File       string
	Keys       KeysConfig
	Ledger     LedgerConfig
	Events     EventsConfig
	Contracts  ContractsConfig
	Warehouse  WarehouseConfig
	Quarantine QuarantineConfig
	Commit     CommitConfig
	Phone      PhoneConfig
	Registry   *RegistryConfig // nil without a schema registry
	Metrics    MetricsConfig
	Memory     MemoryConfig
	Watchdog   time.Duration // 0 is none
	Workers    int           // 0 is one per CPU
}

// KeysConfig says where the token keys are.
type KeysConfig struct{ File string }

// LedgerConfig is where the consent ledger is, File or Kafka, and how it is read.
type LedgerConfig struct {
	File  string // a glob of JSON lines files
	Kafka *LedgerKafka
	// Encoding is that of the messages of a topic. Mapping says how those are read
	// that are rows of another system: a file, or a preset's name; empty is none.
	Encoding, Mapping string
	// Vocabulary, Ages and Regions are files that add to the embedded tables or
	// stand for them; empty is none.
	Vocabulary, Ages, Regions string
	// MaxLinked is how many identifiers one subject may have. Shared are kinds of
	// identifiers that several people share.
	MaxLinked int
	Shared    []schemas.IdentifierKind
	// Learn has links that events tell of written into the ledger.
	Learn    bool
	Snapshot *SnapshotConfig // nil is none
}

// SnapshotConfig is where the ledger's state is kept between two runs, and how
// often it is written.
type SnapshotConfig struct {
	Dir      string
	Interval time.Duration
}

// LedgerKafka is a ledger in one topic.
type LedgerKafka struct {
	Brokers  []string
	Security SecurityConfig
	Topic    string
	// MaxStaleness is how long a partition may be silent before nothing is
	// decided any more; 0 is for ever. Strict makes each barrier write a marker.
	MaxStaleness time.Duration
	Strict       bool
}

// EventsConfig is where events come from: at least one of Kafka, which `lupa
// stream` reads, and Files, which `lupa backfill` reads.
type EventsConfig struct {
	Kafka *EventsKafka
	Files *EventsFiles
	// Format is that of every topic that Formats does not name; of files, which
	// are JSON lines, its envelope counts.
	Format          FormatConfig
	Formats         map[string]FormatConfig
	MaxMessageBytes int64
	MaxDepth        int
	// TCFVendor is our number in the TCF's vendor list; 0 is none.
	TCFVendor int
}

// EventsKafka is events in topics, read by the members of a group.
type EventsKafka struct {
	Brokers, Topics []string
	Security        SecurityConfig
	Group           string
	SessionTimeout  time.Duration
}

// FormatConfig is how messages are encoded, and what is around the event.
type FormatConfig struct{ Encoding, Envelope string }

// The values of FormatConfig.
const (
	encodingJSON        = "json"
	encodingRegistry    = "registry"
	envelopeNone        = "none"
	envelopeCloudEvents = "cloudevents"
	envelopeDebezium    = "debezium"
)

// EventsFiles is events in files that globs name.
type EventsFiles struct{ Paths []string }

// ContractsConfig says which contracts make the job's tables.
type ContractsConfig struct {
	Dir      string // empty is none
	Defaults bool   // also the embedded ones
}

// WarehouseConfig is where the tables are written, and where their catalog is.
type WarehouseConfig struct {
	Dir, Namespace string
	// Region is the country that the tables are in; empty is not known.
	Region string
	// Postgres is the data source name of the catalog's database; nil is SQLite
	// in Dir.
	Postgres *Secret
}

// RegistryConfig is a schema registry.
type RegistryConfig struct {
	URLs                      []string
	Username                  string
	Password                  *Secret
	TokenFile                 string
	CAFile, CertFile, KeyFile string
}

// MetricsConfig is the address of /metrics, /healthz and /readyz; empty is none.
type MetricsConfig struct{ Listen string }

// MemoryConfig is how much memory the process may use; 0 is no limit.
type MemoryConfig struct{ Limit int64 }

// QuarantineConfig is where rejected messages are put aside: in Dir, in Topic
// (on the brokers of Events.Kafka), or nowhere when both are empty.
type QuarantineConfig struct{ Dir, Topic, Recipient string }

// CommitConfig says when rows become visible, and how much memory those of all
// workers together may take until then.
type CommitConfig struct {
	Interval time.Duration
	MaxBytes int64
}

// PhoneConfig is how phone numbers without a country code are read.
type PhoneConfig struct{ DefaultRegion string }

// port matches 1 to 65535.
const port = `([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`

var (
	namespaceForm = form{regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`), "a lower-case letter, then letters, digits and _"}
	topicForm     = form{regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`), "1 to 249 letters, digits, '.', '_' and '-'"}
	regionForm    = form{regexp.MustCompile(`^[A-Z]{2}(-DPF)?$`), "an ISO 3166-1 alpha-2 country, or US-DPF for one certified under the Data Privacy Framework"}
	listenForm    = form{regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9._-]*):(0|` + port[1:] + `$`), "host:port, or :port for every address"}
	brokerForm    = form{regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9._-]+):` + port + `$`), "host:port"}
)

// LoadConfig reads one configuration file, fills in what it leaves out and
// checks it. The error is a *ConfigError with every problem found, or that of
// reading the file.
func LoadConfig(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parseConfig(path, text)
}

func parseConfig(path string, text []byte) (*Config, error) {
	r := &configReader{file: path, dir: filepath.Dir(path)}
	c := &Config{
		File:      path,
		Events:    EventsConfig{MaxMessageBytes: 1 << 20, MaxDepth: 64},
		Contracts: ContractsConfig{Defaults: true},
		Warehouse: WarehouseConfig{Namespace: "lupa"},
		Commit:    CommitConfig{Interval: 10 * time.Second, MaxBytes: 128 << 20},
		Ledger:    LedgerConfig{Encoding: encodingJSON, MaxLinked: 64},
		Watchdog:  5 * time.Minute,
	}
	c.Events.Format = FormatConfig{Encoding: encodingJSON, Envelope: envelopeNone}
	if root := r.document(text); root != nil {
		c.read(r, root)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) read(r *configReader, root *yaml.Node) {
	seen := r.section("", root, keySet{
		"keys": func(key string, n *yaml.Node) {
			s := r.section(key, n, keySet{"file": r.path(&c.Keys.File)})
			r.need(s, key, n, "file")
		},
		"ledger":    c.readLedger(r),
		"events":    c.readEvents(r),
		"contracts": c.readContracts(r),
		"warehouse": func(key string, n *yaml.Node) {
			s := r.section(key, n, keySet{
				"dir":       r.path(&c.Warehouse.Dir),
				"namespace": r.text(&c.Warehouse.Namespace, namespaceForm),
				"catalog":   c.readCatalog(r),
				"region":    r.text(&c.Warehouse.Region, regionForm),
			})
			r.need(s, key, n, "dir")
		},
		"quarantine": c.readQuarantine(r),
		"commit": func(key string, n *yaml.Node) {
			r.section(key, n, keySet{
				"interval":  r.duration(&c.Commit.Interval, 100*time.Millisecond, 30*time.Minute),
				"max_bytes": r.bytes(&c.Commit.MaxBytes, 1<<20, 64<<30),
			})
		},
		"phone": func(key string, n *yaml.Node) {
			r.section(key, n, keySet{"default_region": r.region(&c.Phone.DefaultRegion)})
		},
		"schema_registry": c.readRegistry(r),
		"metrics": func(key string, n *yaml.Node) {
			s := r.section(key, n, keySet{"listen": r.text(&c.Metrics.Listen, listenForm)})
			r.need(s, key, n, "listen")
		},
		"memory": func(key string, n *yaml.Node) {
			s := r.section(key, n, keySet{"limit": r.bytes(&c.Memory.Limit, 256<<20, 16<<40)})
			r.need(s, key, n, "limit")
		},
		"watchdog": r.duration(&c.Watchdog, 0, 24*time.Hour),
		"workers":  r.integer(&c.Workers, 0, 1024),
	})
	r.need(seen, "", root, "keys", "ledger", "events", "warehouse")
	c.checkFormats(r, seen["events"])
	c.checkLedgerEncoding(r, seen["ledger"])
	if k := c.Events.Kafka; k != nil && k.Group == "" {
		k.Group = "lupa-" + c.Warehouse.Namespace
	}

	if n := seen["quarantine"]; n != nil && c.Quarantine.Topic != "" {
		c.checkQuarantineTopic(r, n)
	}
}

// checkQuarantineTopic refuses a topic that the job reads itself: what it puts
// aside would be an event again, rejected again and put aside for ever, or a
// record of the ledger that nobody can read.
func (c *Config) checkQuarantineTopic(r *configReader, n *yaml.Node) {
	const key = "quarantine.topic"
	topic := c.Quarantine.Topic
	if c.Events.Kafka == nil {
		r.problem(n, key, "needs the brokers of events.kafka, which is not there; use quarantine.dir")
		return
	}
	if slices.Contains(c.Events.Kafka.Topics, topic) {
		r.problem(n, key, "%q is also in events.kafka.topics; name a topic that nothing else uses", topic)
	}
	if l := c.Ledger.Kafka; l != nil && l.Topic == topic &&
		slices.ContainsFunc(l.Brokers, func(b string) bool { return slices.Contains(c.Events.Kafka.Brokers, b) }) {
		r.problem(n, key, "%q is also the ledger; name a topic that nothing else uses", topic)
	}
}

func (c *Config) readEvents(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		s := r.section(key, n, keySet{
			"kafka": func(key string, n *yaml.Node) {
				c.Events.Kafka = &EventsKafka{SessionTimeout: 30 * time.Second}
				s := r.section(key, n, keySet{
					"brokers":         r.list(&c.Events.Kafka.Brokers, brokerForm),
					"topics":          r.list(&c.Events.Kafka.Topics, topicForm),
					"security":        r.security(&c.Events.Kafka.Security),
					"group":           r.text(&c.Events.Kafka.Group, topicForm),
					"session_timeout": r.duration(&c.Events.Kafka.SessionTimeout, time.Second, 30*time.Minute),
				})
				r.need(s, key, n, "brokers", "topics")
			},
			"files": func(key string, n *yaml.Node) {
				c.Events.Files = &EventsFiles{}
				s := r.section(key, n, keySet{"paths": r.globs(&c.Events.Files.Paths)})
				r.need(s, key, n, "paths")
			},
			"format":            r.format(&c.Events.Format),
			"formats":           c.readFormats(r),
			"max_message_bytes": r.bytes(&c.Events.MaxMessageBytes, 1<<10, 64<<20),
			"max_depth":         r.integer(&c.Events.MaxDepth, 1, 1024),
			"tcf_vendor":        r.integer(&c.Events.TCFVendor, 1, 65535),
		})
		if s["kafka"] == nil && s["files"] == nil {
			r.problem(n, key, "has neither kafka nor files; at least one is needed")
		}
	}
}

func (c *Config) readContracts(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		r.section(key, n, keySet{
			"dir":      r.path(&c.Contracts.Dir),
			"defaults": r.boolean(&c.Contracts.Defaults),
		})
		if !c.Contracts.Defaults && c.Contracts.Dir == "" {
			r.problem(n, key, "has no dir and no defaults, so there is no table; set one of them")
		}
	}
}

func (c *Config) readQuarantine(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		s := r.section(key, n, keySet{
			"dir":       r.path(&c.Quarantine.Dir),
			"topic":     r.text(&c.Quarantine.Topic, topicForm),
			"recipient": r.recipient(&c.Quarantine.Recipient),
		})
		r.exactlyOne(s, key, n, "dir", "topic")
	}
}

// recipient never shows the value: somebody may have pasted the secret key.
func (r *configReader) recipient(dst *string) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, "an age recipient (age1...)")
		if !ok {
			return
		}
		if _, err := age.ParseX25519Recipient(v); err != nil {
			r.problem(n, key, "is not an age recipient; allowed is one public key, age1...")
			return
		}
		*dst = v
	}
}

func (r *configReader) region(dst *string) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, "an ISO 3166-1 alpha-2 country")
		if !ok {
			return
		}
		if !phonenumbers.GetSupportedRegions()[v] {
			r.problem(n, key, "%q is no country; allowed is an ISO 3166-1 alpha-2 code in capitals, such as FI", v)
			return
		}
		*dst = v
	}
}

func (r *configReader) glob(dst *string) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, "a path or glob")
		if !ok {
			return
		}
		if strings.Contains(v, "://") {
			r.problem(n, key, "%q is a URL; allowed is a path or glob of local files", v)
			return
		}
		if !doublestar.ValidatePathPattern(v) {
			r.problem(n, key, "%q is not a well-formed glob; allowed are * ? [a-z] {a,b} and **", v)
			return
		}
		*dst = r.resolve(v)
	}
}

func (r *configReader) globs(dst *[]string) setter {
	return func(key string, n *yaml.Node) {
		r.each(key, n, "paths or globs", func(key string, item *yaml.Node) {
			var v string
			r.glob(&v)(key, item)
			*dst = append(*dst, v)
		})
	}
}
