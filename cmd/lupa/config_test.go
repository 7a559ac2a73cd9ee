package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

func TestLoadConfigGood(t *testing.T) {
	small := Config{
		Keys:      KeysConfig{File: "testdata/config/lupa.keys"},
		Ledger:    LedgerConfig{File: "testdata/config/ledger.jsonl", Encoding: "json", MaxLinked: 64},
		Contracts: ContractsConfig{Defaults: true},
		Watchdog:  5 * time.Minute,
		Events: EventsConfig{
			Format:          FormatConfig{Encoding: "json", Envelope: "none"},
			Files:           &EventsFiles{Paths: []string{"testdata/config/events.jsonl"}},
			MaxMessageBytes: 1 << 20, MaxDepth: 64,
		},
		Warehouse: WarehouseConfig{Dir: "testdata/config/warehouse", Namespace: "lupa"},
		Commit:    CommitConfig{Interval: 10 * time.Second, MaxBytes: 128 << 20},
	}
	full := Config{
		Keys: KeysConfig{File: "testdata/config/secrets/lupa.keys"},
		Ledger: LedgerConfig{Kafka: &LedgerKafka{
			Brokers: []string{"b1:9092", "[::1]:9092"}, Topic: "consent",
			Security: SecurityConfig{
				TLS: true, CAFile: "testdata/config/ca.pem", CertFile: "testdata/config/client.pem", KeyFile: "/secrets/client.key",
				ServerName: "kafka.example", Mechanism: "OAUTHBEARER",
				Token: &TokenConfig{URL: "https://id.example/token", ClientID: "lupa", Scope: "kafka read", CAFile: "testdata/config/ca.pem",
					ClientSecret: &Secret{File: "testdata/config/client.secret"}},
			},
			MaxStaleness: 3 * time.Minute, Strict: true,
		},
			Encoding: "registry", Mapping: "testdata/config/consents.yaml", Vocabulary: "testdata/config/purposes.yaml", Ages: "testdata/config/ages.yaml",
			MaxLinked: 20, Shared: []schemas.IdentifierKind{schemas.DeviceID, schemas.Phone}, Learn: true,
			Snapshot: &SnapshotConfig{Dir: "testdata/config/state", Interval: time.Hour},
		},
		Events: EventsConfig{
			Kafka: &EventsKafka{
				Brokers: []string{"b1:9092"}, Topics: []string{"web", "app.v2"}, Group: "web-eu", SessionTimeout: 10 * time.Second,
				Security: SecurityConfig{TLS: true, Mechanism: "SCRAM-SHA-512", Username: "lupa", Password: &Secret{Env: "KAFKA_PASSWORD"}},
			},
			Format:  FormatConfig{Encoding: "json", Envelope: "cloudevents"},
			Formats: map[string]FormatConfig{"app.v2": {Encoding: "registry", Envelope: "none"}},
			Files: &EventsFiles{Paths: []string{
				"testdata/config/events/**/*.jsonl.{gz,zst}", "/data/old.jsonl",
			}},
			MaxMessageBytes: 16 << 20, MaxDepth: 128, TCFVendor: 812,
		},
		Contracts: ContractsConfig{Dir: "testdata/config/contracts"},
		Warehouse: WarehouseConfig{Dir: "testdata/warehouse", Namespace: "marketing_eu", Region: "FI", Postgres: &Secret{Env: "LUPA_CATALOG"}},
		Registry: &RegistryConfig{
			URLs: []string{"https://r1.example:8081", "http://[::1]:8081/v1"}, Username: "lupa",
			Password: &Secret{File: "/secrets/registry"}, CAFile: "testdata/config/ca.pem",
		},
		Metrics:  MetricsConfig{Listen: ":9464"},
		Memory:   MemoryConfig{Limit: 2 << 30},
		Watchdog: time.Minute,
		Quarantine: QuarantineConfig{
			Topic: "rejected", Recipient: "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
		},
		Commit:  CommitConfig{Interval: 90 * time.Second, MaxBytes: 1 << 30},
		Phone:   PhoneConfig{DefaultRegion: "SE"},
		Workers: 3,
	}
	for name, want := range map[string]Config{"good_small": small, "good_full": full} {
		t.Run(name, func(t *testing.T) {
			want.File = filepath.Join("testdata", "config", name+".yaml")
			got, err := LoadConfig(want.File)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLoadConfigBad reads every file of testdata/config that is not called
// good_ and compares all its problems with the file beside it.
func TestLoadConfigBad(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "good_") {
			continue
		}
		bad++
		t.Run(name, func(t *testing.T) {
			_, err := LoadConfig(file)
			var problems *ConfigError
			if !errors.As(err, &problems) {
				t.Fatalf("got error %v, want a *ConfigError", err)
			}
			if code := exitCode(err); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".want", []byte(err.Error()+"\n"))
		})
	}
	if bad == 0 {
		t.Fatal("no bad configuration found: nothing was checked")
	}
}

func TestLoadConfigDoesNotShowSecrets(t *testing.T) {
	_, err := LoadConfig("testdata/config/secret_recipient.yaml")
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Fatalf("the error is %v; it must refuse the value and not show it", err)
	}
}

func TestLoadConfigAbsent(t *testing.T) {
	_, err := LoadConfig(filepath.Join(t.TempDir(), "lupa.yaml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want that the file does not exist", err)
	}
}

func TestExampleConfigLoads(t *testing.T) {
	c, err := parseConfig("lupa.yaml", exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	if c.Ledger.File == "" || c.Events.Kafka == nil || c.Events.Files == nil || c.Quarantine.Dir == "" {
		t.Errorf("the example leaves out a section: %+v", c)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(exampleConfig)
	f.Add([]byte("keys: &a {file: *a}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig("lupa.yaml", text)
		var problems *ConfigError
		switch {
		case err != nil && !errors.As(err, &problems):
			t.Fatalf("an error that is no *ConfigError: %v", err)
		case err != nil && (c != nil || len(problems.Problems) == 0):
			t.Fatal("an error without problems, or beside a configuration")
		case err == nil:
			file, kafka := c.Ledger.File != "", c.Ledger.Kafka != nil
			if file == kafka || c.Keys.File == "" || c.Warehouse.Dir == "" || c.Events.Files == nil && c.Events.Kafka == nil {
				t.Fatal("a configuration without what it needs was accepted")
			}
		}
	})
}

func TestSecretRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) *Secret {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return &Secret{File: path}
	}
	t.Setenv("LUPA_TEST_SECRET", "hunter2")
	t.Setenv("LUPA_TEST_NOTHING", "")
	for name, c := range map[string]struct {
		secret *Secret
		want   string // empty is an error
	}{
		"a file":                     {write("line", "hunter2\n", 0o600), "hunter2"},
		"a group's file":             {write("group", " hunter2 \r\n", 0o640), " hunter2 "},
		"everybody's file":           {write("open", "hunter2", 0o644), ""},
		"an empty file":              {write("empty", "\n", 0o600), ""},
		"a large file":               {write("large", strings.Repeat("hunter2", 1<<16), 0o600), ""},
		"no file":                    {&Secret{File: filepath.Join(dir, "none")}, ""},
		"a variable":                 {&Secret{Env: "LUPA_TEST_SECRET"}, "hunter2"},
		"an empty variable":          {&Secret{Env: "LUPA_TEST_NOTHING"}, ""},
		"a variable that is not set": {&Secret{Env: "LUPA_TEST_UNSET"}, ""},
	} {
		got, err := c.secret.Read()
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: read %q, error %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
}
