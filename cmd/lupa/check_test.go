package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/connectors/kafka"
	"lupa/connectors/warehouse/pgtest"
	"lupa/schemas"
)

// world is a folder in which a job could run: its configuration names Kafka
// topics as well as files.
func world(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "lupa.yaml", `
keys: {file: lupa.keys}
ledger: {kafka: {brokers: [localhost:9092], topic: consent}}
events:
  kafka: {brokers: [localhost:9092], topics: [web, app]}
  files: {paths: ["events/*.jsonl"]}
warehouse: {dir: warehouse}
quarantine: {dir: quarantine}
`)
	write(t, dir, "events/a.jsonl", "{}\n")
	write(t, dir, "events/b.jsonl", "{}\n{}\n")
	if err := initKeys(&strings.Builder{}, filepath.Join(dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fewTopics is a cluster that has the topics consent and web.
func fewTopics(_ context.Context, _ []string, _ SecurityConfig, topic string) (kafka.Topic, error) {
	switch topic {
	case "consent":
		return kafka.Topic{Partitions: 1}, nil
	case "web":
		return kafka.Topic{Partitions: 6}, nil
	case "forgetful":
		return kafka.Topic{Partitions: 2, Forgets: `cleanup.policy is "delete" with retention.ms "604800000"`}, nil
	}
	return kafka.Topic{}, errors.New("no such topic")
}

// pretended answers for everything that check connects to.
func pretended() askers {
	return askers{
		topic: fewTopics,
		registry: func(_ context.Context, c *RegistryConfig) error {
			if c.URLs[0] == "https://registry.example" {
				return nil
			}
			return errors.New("registry http://127.0.0.1:1 cannot be reached: connection refused\nregistry http://127.0.0.1:2 refuses the credentials: HTTP 401")
		},
		catalog: func(_ context.Context, dsn *Secret) (string, error) {
			if text, err := dsn.Read(); err != nil || text != "postgres://catalog.example/lupa" {
				return "", errors.New("no such database")
			}
			return "public", nil
		},
	}
}

// secured is a configuration that names secrets of every kind.
const secured = `
keys: {file: lupa.keys}
ledger:
  kafka:
    brokers: [localhost:9092]
    topic: consent
    security: {tls: true, ca_file: ca.pem, mechanism: OAUTHBEARER, token: {url: "https://token.example", client_id: lupa, client_secret_file: client.secret}}
events:
  kafka:
    brokers: [localhost:9092]
    topics: [web]
    group: visits
    session_timeout: 45s
    security: {tls: true, cert_file: cert.pem, key_file: cert.key, mechanism: SCRAM-SHA-512, username: lupa, password_env: LUPA_TEST_PASSWORD}
  format: {encoding: registry}
schema_registry: {urls: ["REGISTRY"], username: lupa, password_file: registry.password}
warehouse: {dir: warehouse, catalog: {postgres: {dsn_file: catalog.dsn}}}
metrics: {listen: "127.0.0.1:0"}
`

// TestCheck compares what check prints with testdata/check, with DIR for the
// folder and POLICY for the hash of the embedded contracts.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, dir string)
		options checkOptions
	}{
		{name: "topic_missing"},
		{name: "ledger_forgets", change: func(t *testing.T, dir string) {
			write(t, dir, "lupa.yaml", `
keys: {file: lupa.keys}
ledger: {kafka: {brokers: [localhost:9092], topic: forgetful}}
events: {kafka: {brokers: [localhost:9092], topics: [web]}}
warehouse: {dir: warehouse}
`)
		}},
		{name: "offline", options: checkOptions{offline: true}},
		{name: "offline_json", options: checkOptions{offline: true, asJSON: true}},
		{name: "bad_config", change: func(t *testing.T, dir string) {
			write(t, dir, "lupa.yaml", "keys: {file: lupa.keys}\nwarehouses: {}\n")
		}},
		{name: "no_config", change: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "lupa.yaml")); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "nothing_there", options: checkOptions{offline: true}, change: func(t *testing.T, dir string) {
			write(t, dir, "lupa.yaml", `
keys: {file: other.keys}
ledger: {file: ledger/*.jsonl}
events: {files: {paths: [lost.jsonl, events]}}
contracts: {dir: contracts}
warehouse: {dir: events/a.jsonl}
quarantine: {dir: events/a.jsonl/aside, recipient: age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj}
`)
		}},
		{name: "secured", change: func(t *testing.T, dir string) { secure(t, dir, "https://registry.example") }},
		{name: "secured_offline", options: checkOptions{offline: true}, change: func(t *testing.T, dir string) {
			secure(t, dir, "https://registry.example")
		}},
		{name: "secrets", change: func(t *testing.T, dir string) {
			secure(t, dir, "https://registry.two")
			t.Setenv("LUPA_TEST_PASSWORD", "")
			for _, name := range []string{"registry.password", "cert.key"} {
				if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"client.secret", "ca.pem"} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			hide(t, dir, "catalog.dsn", "\n")
		}},
		{name: "metrics_elsewhere", options: checkOptions{offline: true}, change: func(t *testing.T, dir string) {
			secure(t, dir, "https://registry.example")
			text := strings.Replace(secured, "127.0.0.1:0", "192.0.2.1:9464", 1)
			write(t, dir, "lupa.yaml", strings.Replace(text, "REGISTRY", "https://registry.example", 1))
		}},
		{name: "bad_contract", options: checkOptions{offline: true}, change: func(t *testing.T, dir string) {
			write(t, dir, "lupa.yaml", `
keys: {file: lupa.keys}
ledger: {file: "events/*.jsonl"}
events: {files: {paths: [events/a.jsonl, "events/[b].jsonl"]}}
contracts: {dir: contracts}
warehouse: {dir: warehouse}
`)
			write(t, dir, "events/[b].jsonl", "{}\n{}\n{}\n")
			write(t, dir, "contracts/visits.yaml", "apiVersion: v3.1.0\nkind: Table\n")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := world(t)
			t.Setenv("LUPA_TEST_PASSWORD", "canary-of-the-environment")
			if c.change != nil {
				c.change(t, dir)
			}
			c.options.config = filepath.Join(dir, "lupa.yaml")
			var out bytes.Buffer
			err := runCheck(t.Context(), &out, c.options, pretended())
			text := strings.ReplaceAll(out.String(), dir, "DIR")
			text = strings.ReplaceAll(text, schemas.PolicyHash(schemas.DefaultContracts())[:12], "POLICY")
			if err != nil {
				text += "lupa: " + err.Error() + "\n"
			}
			if problem := strings.Contains(text, "problem"); problem != (exitCode(err) == exitUsage) {
				t.Errorf("exit code %d", exitCode(err))
			}
			golden(t, filepath.Join("testdata", "check", c.name+".txt"), []byte(text))
		})
	}
}

// secure writes the configuration with secrets, and those.
func secure(t *testing.T, dir, registry string) {
	t.Helper()
	write(t, dir, "lupa.yaml", strings.Replace(secured, "REGISTRY", registry, 1))
	for _, name := range []string{"client.secret", "cert.key", "registry.password", "ca.pem", "cert.pem"} {
		hide(t, dir, name, "canary of "+name+"\n")
	}
	hide(t, dir, "catalog.dsn", "postgres://catalog.example/lupa")
}

// hide writes a file that only its owner can read.
func hide(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCheckAsksTheRegistry: who does not answer, or not to this password, is
// found before a stream waits for them.
func TestCheckAsksTheRegistry(t *testing.T) {
	dir, r := world(t), startRegistry(t)
	j := job{dir: dir, config: filepath.Join(dir, "lupa.yaml")}
	write(t, dir, "lupa.yaml", "keys: {file: lupa.keys}\nledger: {file: events/a.jsonl}\nevents: {files: {paths: [events/a.jsonl]}}\nwarehouse: {dir: warehouse}\n")
	r.configure(t, j)
	check := func(want int, says string) {
		t.Helper()
		code, out, errs := command(t, "check", "-c", j.config)
		if code != want || !strings.Contains(words(out), says) {
			t.Errorf("code %d, want %d, and no %q in what it printed:\n%s", code, want, says, out)
		}
		for _, secret := range r.secrets() {
			if told(secret, out, errs) {
				t.Error("it shows who asks, or the password")
			}
		}
	}
	check(exitOK, "schema_registry 1 server: can be asked")
	hide(t, dir, "registry.password", "another")
	check(exitUsage, "refuses the credentials: HTTP 401")
	r.stop()
	check(exitUsage, "cannot be reached")
}

// TestCheckAsksTheCatalog likewise.
func TestCheckAsksTheCatalog(t *testing.T) {
	server := pgtest.Start(t)
	dir := world(t)
	config := filepath.Join(dir, "lupa.yaml")
	write(t, dir, "lupa.yaml", "keys: {file: lupa.keys}\nledger: {file: events/a.jsonl}\nevents: {files: {paths: [events/a.jsonl]}}\n"+
		"warehouse: {dir: warehouse, catalog: {postgres: {dsn_file: catalog.dsn}}}\n")
	dsn := server.Database(t)
	for _, c := range []struct {
		name, dsn, says string
		code            int
	}{
		{"there", dsn, "PostgreSQL: schema public", exitOK},
		{"another database", strings.Replace(dsn, "?sslmode", "_canary?sslmode", 1), "does not exist", exitUsage},
		{"nobody there", "host=127.0.0.1 port=1 user=lupa password=hush-hush dbname=lupa sslmode=disable", "warehouse.catalog", exitUsage},
	} {
		hide(t, dir, "catalog.dsn", c.dsn)
		code, out, errs := command(t, "check", "-c", config)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: code %d, want %d, and no %q in what it printed:\n%s", c.name, code, c.code, c.says, out)
		}
		if told("hush-hush", out, errs) || told(server.Password(), out, errs) {
			t.Errorf("%s: it shows the password", c.name)
		}
	}
	if list := tree(t, dir); strings.Contains(list, "warehouse") {
		t.Errorf("it made something:\n%s", list)
	}
}

// TestCheckSeesWhoListens: the address of a job that runs is taken by itself.
func TestCheckSeesWhoListens(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := world(t)
	text, err := os.ReadFile(filepath.Join(dir, "lupa.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lupa.yaml", string(text)+fmt.Sprintf("metrics: {listen: %q}\n", taken.Addr()))
	code, out, _ := command(t, "check", "--offline", "-c", filepath.Join(dir, "lupa.yaml"))
	if code != exitOK || !strings.Contains(words(out), fmt.Sprintf("warning metrics %s: somebody listens there", taken.Addr())) {
		t.Errorf("code %d, printed:\n%s", code, out)
	}
}

func TestCheckChangesNothing(t *testing.T) {
	dir := world(t)
	before := tree(t, dir)
	if code, _, errs := command(t, "check", "--offline", "-c", filepath.Join(dir, "lupa.yaml")); code != exitOK {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		list.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// Root can write every folder of a disk, but not those of the kernel.
func TestCheckRefusesFoldersItCannotWrite(t *testing.T) {
	dir := world(t)
	folder := filepath.Join(dir, "warehouse")
	if os.Geteuid() == 0 {
		folder = "/proc/self/warehouse"
	} else if err := os.Mkdir(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "lupa.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lupa.yaml", strings.Replace(string(config), "warehouse: {dir: warehouse}", "warehouse: {dir: "+folder+"}", 1))
	code, out, _ := command(t, "check", "--offline", "-c", filepath.Join(dir, "lupa.yaml"))
	if code != exitUsage || !strings.Contains(out, "problem  warehouse") {
		t.Errorf("code %d, printed:\n%s", code, out)
	}
}

func TestCheckExample(t *testing.T) {
	code, out, _ := command(t, "check", "--example")
	if code != exitOK || out != string(exampleConfig) {
		t.Errorf("code %d, printed:\n%s", code, out)
	}
}

func TestCheckPrintsTheDataMap(t *testing.T) {
	dir := world(t)
	config := filepath.Join(dir, "lupa.yaml")
	code, out, _ := command(t, "check", "--offline", "--contracts", "-c", config)
	if code != exitOK {
		t.Fatalf("code %d", code)
	}
	code, text, _ := command(t, "check", "--offline", "--contracts", "--json", "-c", config)
	if code != exitOK {
		t.Fatalf("code %d", code)
	}
	var result struct{ Tables []mappedTable }
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatal(err)
	}
	contracts := schemas.DefaultContracts()
	if len(result.Tables) != len(contracts) {
		t.Fatalf("%d tables, want %d", len(result.Tables), len(contracts))
	}
	for i, c := range contracts {
		table := result.Tables[i]
		if table.Table != c.Table || len(table.Fields) != len(c.Fields) {
			t.Errorf("table %s has %d fields, want %d of %s", table.Table, len(table.Fields), len(c.Fields), c.Table)
		}
		if !strings.Contains(out, "\n"+c.Table+" "+c.Version+" from events with ") {
			t.Errorf("%s is not printed", c.Table)
		}
		for _, f := range c.Fields {
			if !strings.Contains(out, "\n  "+f.Name+" ") {
				t.Errorf("%s.%s is not printed", c.Table, f.Name)
			}
		}
	}
}

func TestDescribeTopic(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "consent"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	d, err := describeTopic(t.Context(), cluster.ListenAddrs(), SecurityConfig{}, "consent")
	if err != nil || d.Partitions != 3 || !strings.Contains(d.Forgets, `cleanup.policy is "delete"`) {
		t.Errorf("got %+v and error %v, want 3 partitions that forget", d, err)
	}
	if d, err := describeTopic(t.Context(), cluster.ListenAddrs(), SecurityConfig{}, "absent"); err == nil {
		t.Errorf("a topic that is not there is %+v", d)
	}
}

// TestCheckReachesBrokersAsTheJobDoes: a cluster that wants a password is asked
// with it, and not without.
func TestCheckReachesBrokersAsTheJobDoes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "password", "right\n")
	if err := os.Chmod(filepath.Join(dir, "password"), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "consent"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "lupa", "right"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s := SecurityConfig{Mechanism: "SCRAM-SHA-256", Username: "lupa", Password: &Secret{File: filepath.Join(dir, "password")}}
	if d, err := describeTopic(t.Context(), cluster.ListenAddrs(), s, "consent"); err != nil || d.Partitions != 3 {
		t.Errorf("got %+v and error %v, want 3 partitions", d, err)
	}
	s.Mechanism = "PLAIN"
	if _, err := describeTopic(t.Context(), []string{"broker.example:9092"}, s, "consent"); err == nil || !strings.Contains(err.Error(), "loopback addresses only") {
		t.Errorf("PLAIN without TLS to another machine: %v", err)
	}
}

// words is what a table says, whatever the width of its columns.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }
