package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SecurityConfig is how a cluster is reached. The zero value is in the clear
// and without a name.
type SecurityConfig struct {
	TLS                                   bool
	CAFile, CertFile, KeyFile, ServerName string
	Mechanism, Username                   string
	Password                              *Secret
	TokenFile                             string
	Token                                 *TokenConfig
}

// TokenConfig is where OAUTHBEARER tokens are asked for (RFC 6749, 4.4).
type TokenConfig struct {
	URL, ClientID, Scope, CAFile string
	ClientSecret                 *Secret
}

// Secret is where a secret is, never what it is: exactly one of a file and an
// environment variable.
type Secret struct{ File, Env string }

// Read gives the secret as it is now, without a line end behind it. The error
// names the place.
func (s *Secret) Read() (string, error) {
	if s.Env != "" {
		v := os.Getenv(s.Env)
		if v == "" {
			return "", fmt.Errorf("environment variable %s is empty", s.Env)
		}
		return v, nil
	}
	f, err := os.Open(s.File)
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("%s may be read or written by everybody; `chmod o= %s`", s.File, s.File)
	}
	if err == nil && info.Size() > 64<<10 {
		err = fmt.Errorf("%s is too large for a secret", s.File)
	}
	if err != nil {
		return "", errors.Join(err, f.Close())
	}
	text, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	v := strings.TrimRight(string(text), "\r\n")
	if v == "" {
		return "", fmt.Errorf("%s is empty", s.File)
	}
	return v, nil
}

var envForm = form{regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`), "the name of an environment variable"}

// secret adds the two keys under which a secret can be named, name_file and
// name_env.
func (r *configReader) secret(keys keySet, name string, dst **Secret) {
	set := func(key string, n *yaml.Node, read func(*Secret)) {
		if *dst != nil {
			r.problem(n, key, "names the secret a second time; exactly one of %s_file and %s_env is allowed", name, name)
			return
		}
		*dst = &Secret{}
		read(*dst)
	}
	// Neither shows its value: somebody may have written the secret itself there.
	keys[name+"_file"] = func(key string, n *yaml.Node) {
		set(key, n, func(s *Secret) {
			v, ok := r.scalar(key, n, "a path")
			switch {
			case !ok:
			case strings.Contains(v, "://") || strings.Contains(v, "password="):
				r.problem(n, key, "is no path; allowed is that of a local file that holds the secret")
			default:
				s.File = r.resolve(v)
			}
		})
	}
	keys[name+"_env"] = func(key string, n *yaml.Node) {
		set(key, n, func(s *Secret) {
			v, ok := r.scalar(key, n, envForm.allowed)
			if ok && !envForm.match.MatchString(v) {
				r.problem(n, key, "is not allowed; allowed is %s", envForm.allowed)
			}
			s.Env = v
		})
	}
}

var (
	hostForm     = form{regexp.MustCompile(`^[a-zA-Z0-9._:-]{1,253}$`), "a host name"}
	nameForm     = form{regexp.MustCompile(`^[^\x00-\x1f]{1,255}$`), "up to 255 characters of one line"}
	scopeForm    = form{regexp.MustCompile(`^[!#-\[\]-~]+( [!#-\[\]-~]+)*$`), "scopes with one space between them"}
	mechanismSet = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}
)

func (r *configReader) security(dst *SecurityConfig) setter {
	return func(key string, n *yaml.Node) {
		keys := keySet{
			"tls":         r.boolean(&dst.TLS),
			"ca_file":     r.path(&dst.CAFile),
			"cert_file":   r.path(&dst.CertFile),
			"key_file":    r.path(&dst.KeyFile),
			"server_name": r.text(&dst.ServerName, hostForm),
			"mechanism":   r.oneOf(&dst.Mechanism, mechanismSet...),
			"username":    r.text(&dst.Username, nameForm),
			"token_file":  r.path(&dst.TokenFile),
			"token": func(key string, n *yaml.Node) {
				dst.Token = &TokenConfig{}
				keys := keySet{
					"url":       r.url(&dst.Token.URL),
					"client_id": r.text(&dst.Token.ClientID, nameForm),
					"scope":     r.text(&dst.Token.Scope, scopeForm),
					"ca_file":   r.path(&dst.Token.CAFile),
				}
				r.secret(keys, "client_secret", &dst.Token.ClientSecret)
				s := r.section(key, n, keys)
				r.need(s, key, n, "url", "client_id")
				if s != nil && dst.Token.ClientSecret == nil {
					r.problem(n, key, "has no client_secret_file and no client_secret_env; one is needed")
				}
			},
		}
		r.secret(keys, "password", &dst.Password)
		seen := r.section(key, n, keys)
		if seen != nil {
			r.checkSecurity(dst, seen, key, n)
		}
	}
}

// checkSecurity refuses settings that would have no effect, and a name without
// what proves it.
func (r *configReader) checkSecurity(s *SecurityConfig, seen map[string]*yaml.Node, key string, n *yaml.Node) {
	if !s.TLS {
		for _, k := range []string{"ca_file", "cert_file", "key_file", "server_name"} {
			if seen[k] != nil {
				r.problem(seen[k], key+"."+k, "has no effect without tls: true")
			}
		}
	}
	if (seen["cert_file"] == nil) != (seen["key_file"] == nil) {
		r.problem(n, key, "has one of cert_file and key_file; both or neither are needed")
	}
	token := s.TokenFile != "" || s.Token != nil
	switch {
	case s.Mechanism == "" && seen["mechanism"] == nil:
		if s.Username != "" || s.Password != nil || token {
			r.problem(n, key, "has credentials and no mechanism; allowed are %s", strings.Join(mechanismSet, ", "))
		}
	case s.Mechanism == "OAUTHBEARER":
		if s.Username != "" || s.Password != nil {
			r.problem(n, key, "has a username or password, which OAUTHBEARER does not use")
		}
		if (s.TokenFile == "") == (s.Token == nil) {
			r.problem(n, key, "needs exactly one of token_file and token for OAUTHBEARER")
		}
	case s.Mechanism != "":
		if s.Username == "" || s.Password == nil {
			r.problem(n, key, "needs username and one of password_file and password_env for %s", s.Mechanism)
		}
		if token {
			r.problem(n, key, "has a token, which %s does not use", s.Mechanism)
		}
	}
}

func (c *Config) readCatalog(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		s := r.section(key, n, keySet{
			"postgres": func(key string, n *yaml.Node) {
				keys := keySet{}
				r.secret(keys, "dsn", &c.Warehouse.Postgres)
				if s := r.section(key, n, keys); s != nil && c.Warehouse.Postgres == nil {
					r.problem(n, key, "has no dsn_file and no dsn_env; one is needed")
				}
			},
		})
		r.need(s, key, n, "postgres")
	}
}

func (c *Config) readRegistry(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		c.Registry = &RegistryConfig{}
		keys := keySet{
			"urls": func(key string, n *yaml.Node) {
				r.each(key, n, "URLs", func(key string, item *yaml.Node) {
					var u string
					r.url(&u)(key, item)
					c.Registry.URLs = append(c.Registry.URLs, u)
				})
			},
			"username":   r.text(&c.Registry.Username, nameForm),
			"token_file": r.path(&c.Registry.TokenFile),
			"ca_file":    r.path(&c.Registry.CAFile),
			"cert_file":  r.path(&c.Registry.CertFile),
			"key_file":   r.path(&c.Registry.KeyFile),
		}
		r.secret(keys, "password", &c.Registry.Password)
		s := r.section(key, n, keys)
		r.need(s, key, n, "urls")
		if s == nil {
			return
		}
		if (s["cert_file"] == nil) != (s["key_file"] == nil) {
			r.problem(n, key, "has one of cert_file and key_file; both or neither are needed")
		}
		if (c.Registry.Username == "") != (c.Registry.Password == nil) {
			r.problem(n, key, "has one of username and password; both or neither are needed")
		}
		if c.Registry.Username != "" && c.Registry.TokenFile != "" {
			r.problem(n, key, "has a username and a token_file; one of them is allowed")
		}
	}
}

func (r *configReader) format(dst *FormatConfig) setter {
	return func(key string, n *yaml.Node) {
		r.section(key, n, keySet{
			"encoding": r.oneOf(&dst.Encoding, encodingJSON, encodingRegistry),
			"envelope": r.oneOf(&dst.Envelope, envelopeNone, envelopeCloudEvents, envelopeDebezium),
		})
	}
}

// readFormats reads the formats of single topics, whose names are the keys.
func (c *Config) readFormats(r *configReader) setter {
	return func(key string, n *yaml.Node) {
		m := follow(n)
		if m.Kind != yaml.MappingNode {
			r.problem(n, key, "is not a section; its keys are topics")
			return
		}
		c.Events.Formats = map[string]FormatConfig{}
		for i := 0; i+1 < len(m.Content); i += 2 {
			topic, at := m.Content[i].Value, key+"."+m.Content[i].Value
			if _, ok := c.Events.Formats[topic]; ok {
				r.problem(m.Content[i], at, "stands twice")
				continue
			}
			f := FormatConfig{Encoding: encodingJSON, Envelope: envelopeNone}
			r.format(&f)(at, m.Content[i+1])
			c.Events.Formats[topic] = f
		}
	}
}

// checkFormats refuses formats of topics that nobody reads, and schemas without
// a registry.
func (c *Config) checkFormats(r *configReader, n *yaml.Node) {
	registry := c.Events.Kafka != nil && c.Events.Format.Encoding == encodingRegistry
	for topic, f := range c.Events.Formats {
		if c.Events.Kafka == nil || !slices.Contains(c.Events.Kafka.Topics, topic) {
			r.problem(n, "events.formats."+topic, "is no topic of events.kafka.topics")
		}
		registry = registry || f.Encoding == encodingRegistry
	}
	if registry && c.Registry == nil {
		r.problem(n, "events", "reads schemas of a registry; schema_registry is missing")
	}
}

// checkLedgerEncoding refuses schemas without a registry.
func (c *Config) checkLedgerEncoding(r *configReader, n *yaml.Node) {
	if c.Ledger.Encoding == encodingRegistry && c.Registry == nil {
		r.problem(n, "ledger.encoding", "reads schemas of a registry; schema_registry is missing")
	}
}

func (r *configReader) oneOf(dst *string, values ...string) setter {
	return func(key string, n *yaml.Node) {
		allowed := strings.Join(values, ", ")
		v, ok := r.scalar(key, n, allowed)
		if !ok {
			return
		}
		if !slices.Contains(values, v) {
			r.problem(n, key, "%q is not allowed; allowed are %s", v, allowed)
			return
		}
		*dst = v
	}
}

// url never shows the value: somebody may have put a password into it.
func (r *configReader) url(dst *string) setter {
	return func(key string, n *yaml.Node) {
		const allowed = "an http or https URL with a host and without a user, query or fragment"
		v, ok := r.scalar(key, n, allowed)
		if !ok {
			return
		}
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			r.problem(n, key, "is not %s", allowed)
			return
		}
		*dst = v
	}
}
