package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"lupa/connectors/kafka"
	"lupa/connectors/warehouse"
)

// checkPatience is how long what is asked may take to answer.
const checkPatience = 5 * time.Second

// askers ask what a configuration names whether it is there.
type askers struct {
	topic    func(ctx context.Context, brokers []string, s SecurityConfig, topic string) (kafka.Topic, error)
	registry func(ctx context.Context, c *RegistryConfig) error
	catalog  func(ctx context.Context, dsn *Secret) (schema string, err error)
}

// inEarnest are those that connect.
func inEarnest() askers { return askers{describeTopic, askRegistry, askCatalog} }

// describeTopic asks a cluster what a topic is.
func describeTopic(ctx context.Context, brokers []string, s SecurityConfig, topic string) (kafka.Topic, error) {
	how, err := security(s)
	if err != nil {
		return kafka.Topic{}, err
	}
	cluster, err := kafka.New(kafka.Options{Brokers: brokers, Security: how, StartTimeout: checkPatience})
	if err != nil {
		return kafka.Topic{}, err
	}
	return cluster.Describe(ctx, topic)
}

// askRegistry asks every server of a schema registry.
func askRegistry(ctx context.Context, c *RegistryConfig) (err error) {
	client, err := newRegistry(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	return client.Check(ctx)
}

// askCatalog connects to the catalog's database.
func askCatalog(ctx context.Context, dsn *Secret) (schema string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	return warehouse.AskPostgres(ctx, warehouse.PostgresOptions{DSN: dsn.Read})
}

// skip says that something is not asked, and reports whether it is not.
func (c *checker) skip(check, what string) bool {
	if c.offline {
		c.findings = append(c.findings, finding{check, statusSkipped, what + ": --offline"})
	}
	return c.offline
}

// secrets checks that every secret can be read, and by nobody else, and every
// certificate with its key.
func (c *checker) secrets(config *Config) {
	if k := config.Ledger.Kafka; k != nil {
		c.secured("ledger.kafka", &k.Security)
	}
	if k := config.Events.Kafka; k != nil {
		c.secured("events.kafka", &k.Security)
	}
	if r := config.Registry; r != nil {
		c.secret("schema_registry", "password", r.Password)
		c.secret("schema_registry", "token", fileSecret(r.TokenFile))
		c.present("schema_registry", r.CAFile, r.CertFile, r.KeyFile)
	}
	c.secret("warehouse.catalog", "dsn", config.Warehouse.Postgres)
}

func (c *checker) secured(check string, s *SecurityConfig) {
	c.secret(check, "password", s.Password)
	c.secret(check, "token", fileSecret(s.TokenFile))
	c.privateKey(check, s.KeyFile)
	c.present(check, s.CAFile, s.CertFile)
	if s.Token != nil {
		c.secret(check, "client secret", s.Token.ClientSecret)
		c.present(check, s.Token.CAFile)
	}
}

// present checks that files, each of which may be none, can be read.
func (c *checker) present(check string, names ...string) {
	for _, name := range names {
		if name == "" {
			continue
		}
		if _, err := readable(name); err != nil {
			c.problem(check, err)
		}
	}
}

// privateKey checks that nobody but the owner can use a key, which may be none:
// brokers are not reached with another.
func (c *checker) privateKey(check, name string) {
	info, err := os.Stat(name)
	switch {
	case name == "":
	case err != nil:
		c.problem(check, err)
	case info.Mode().Perm()&0o077 != 0:
		c.problem(check, fmt.Errorf("key: %s may be used by others than its owner; `chmod go= %[1]s`", name))
	default:
		c.ok(check, "key: %s", name)
	}
}

func fileSecret(name string) *Secret {
	if name == "" {
		return nil
	}
	return &Secret{File: name}
}

// secret checks one, which may be nil, and shows where it is.
func (c *checker) secret(check, what string, s *Secret) {
	if s == nil {
		return
	}
	if _, err := s.Read(); err != nil {
		c.problem(check, fmt.Errorf("%s: %w", what, err))
		return
	}
	if s.Env != "" {
		c.ok(check, "%s: environment variable %s", what, s.Env)
		return
	}
	c.ok(check, "%s: %s", what, s.File)
}

func (c *checker) registry(ctx context.Context, config *Config) {
	r := config.Registry
	if r == nil || c.skip("schema_registry", plural(len(r.URLs), "server")) {
		return
	}
	if err := c.ask.registry(ctx, r); err != nil {
		c.problem("schema_registry", err)
		return
	}
	c.ok("schema_registry", "%s: can be asked", plural(len(r.URLs), "server"))
}

func (c *checker) catalog(ctx context.Context, config *Config) {
	dsn := config.Warehouse.Postgres
	if dsn == nil || c.skip("warehouse.catalog", "PostgreSQL") {
		return
	}
	schema, err := c.ask.catalog(ctx, dsn)
	if err != nil {
		c.problem("warehouse.catalog", err)
		return
	}
	c.ok("warehouse.catalog", "PostgreSQL: schema %s", schema)
}

// metrics checks that the address is one of this machine.
func (c *checker) metrics(config *Config) {
	address := config.Metrics.Listen
	if address == "" {
		return
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		err = l.Close()
	}
	switch at := (*os.SyscallError)(nil); {
	case err == nil:
		c.ok("metrics", "%s: can be listened at", address)
	case errors.As(err, &at) && errors.Is(at.Err, syscall.EADDRINUSE):
		c.warn("metrics", "%s: somebody listens there, which may be this job", address)
	default:
		c.problem("metrics", err)
	}
}
