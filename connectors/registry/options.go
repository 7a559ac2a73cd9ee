package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options say where a registry is and how to ask it.
type Options struct {
	// URLs are the registry's servers. They are asked in turn until one
	// answers. A path may stand before the API's own, a context for instance.
	URLs []string
	// User and Password are for basic authentication. The password is asked
	// for with each request, so it may change.
	User     string
	Password func() (string, error)
	// Token gives a bearer token, as Password does, instead of it.
	Token func() (string, error)
	// CAFile has the certificates that may have signed the servers', in PEM;
	// without it those of the system.
	CAFile string
	// CertFile and KeyFile are the client's certificate and key in PEM. They
	// are read for each connection.
	CertFile, KeyFile string
	// Timeout bounds one request; 10 seconds by default.
	Timeout time.Duration
	// CacheBytes bounds the text of the schemas that are kept; 64 MiB by
	// default.
	CacheBytes int64
	Log        *slog.Logger
}

// server is one server of a registry.
type server struct {
	name string // for messages
	base string // address without a slash at its end
}

// New makes a client. It asks nothing yet.
func New(o Options) (*Client, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return c, nil
}

func newClient(o Options) (*Client, error) {
	for _, limit := range []struct {
		name  string
		value *int64
		def   int64
	}{
		{"timeout", (*int64)(&o.Timeout), int64(10 * time.Second)},
		{"cache bytes", &o.CacheBytes, 64 << 20},
	} {
		if *limit.value == 0 {
			*limit.value = limit.def
		}
		if *limit.value < 0 {
			return nil, fmt.Errorf("%s is %d, allowed is a positive number", limit.name, *limit.value)
		}
	}
	auth, err := o.authentication()
	if err != nil {
		return nil, err
	}
	if len(o.URLs) == 0 {
		return nil, errors.New("there is no url")
	}
	var servers []server
	for i, text := range o.URLs {
		s, err := parseURL(text, auth != authentication{})
		if err != nil {
			return nil, fmt.Errorf("url %d: %w", i+1, err)
		}
		servers = append(servers, s)
	}
	config, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		servers: servers, auth: auth, timeout: o.Timeout, log: o.Log, now: time.Now, cache: newCache(o.CacheBytes),
		http: &http.Client{CheckRedirect: sameServer, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: o.Timeout}).DialContext,
			TLSClientConfig: config, TLSHandshakeTimeout: o.Timeout, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}},
	}
	c.base, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// parseURL reads an address. Its errors do not repeat it: it may hold a
// password, in the wrong place.
func parseURL(text string, secrets bool) (server, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return server{}, errors.New("it cannot be read, allowed is http:// or https:// with a host")
	case u.User != nil:
		return server{}, errors.New("a user and password in it would be printed, allowed are the options for them")
	case u.RawQuery != "" || u.Fragment != "":
		return server{}, errors.New("allowed is nothing after its path")
	case secrets && u.Scheme == "http" && !loopback(u.Hostname()):
		return server{}, errors.New("credentials would cross the network in clear, allowed is https://")
	}
	return server{name: u.Scheme + "://" + u.Host, base: strings.TrimRight(u.String(), "/")}, nil
}

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// sameServer lets a server send a request on to another of its own addresses
// alone: credentials go with it.
func sameServer(req *http.Request, via []*http.Request) error {
	if len(via) >= 3 {
		return redirect("it sends the request on and on")
	}
	if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return redirect("it sends the request on to another server")
	}
	return nil
}

func (o *Options) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca file %s has no certificate in PEM", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("cert file and key file go together, one is missing")
	}
	if o.CertFile == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}

// authentication adds credentials to requests.
type authentication struct {
	basic *basic
	token *token
}

type basic struct {
	user     string
	password func() (string, error)
}

type token struct{ text func() (string, error) }

func (o *Options) authentication() (authentication, error) {
	switch {
	case (o.User == "") != (o.Password == nil):
		return authentication{}, errors.New("user and password go together, one is missing")
	case o.User != "" && o.Token != nil:
		return authentication{}, errors.New("a password and a token are given, allowed is one of them")
	case strings.Contains(o.User, ":"):
		return authentication{}, errors.New("user has a colon, which basic authentication cannot send")
	case o.User != "":
		return authentication{basic: &basic{o.User, o.Password}}, nil
	case o.Token != nil:
		return authentication{token: &token{o.Token}}, nil
	}
	return authentication{}, nil
}

func (a authentication) sign(req *http.Request) error {
	switch {
	case a.basic != nil:
		password, err := a.basic.password()
		if err != nil {
			return err
		}
		req.SetBasicAuth(a.basic.user, password)
	case a.token != nil:
		text, err := a.token.text()
		if err != nil {
			return err
		}
		// The HTTP library would repeat a header that it cannot send.
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("the token is empty or has a character that no header can hold")
		}
		req.Header.Set("Authorization", "Bearer "+text)
	}
	return nil
}
