package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// schemaRegistry answers as Confluent's does, to whoever knows the password. It
// can go away and come back at the same address.
type schemaRegistry struct {
	t              *testing.T
	user, password string
	address        string

	mu      sync.Mutex
	schemas []knownSchema    // the id of each is its index and one
	instead http.HandlerFunc // answers instead of it, if set
	server  *http.Server     // nil while it is away
	done    chan struct{}
}

// knownSchema is a schema of the registry.
type knownSchema struct {
	kind, text string
	guid       uuid.UUID
}

// startRegistry starts a registry.
func startRegistry(t *testing.T) *schemaRegistry {
	t.Helper()
	r := &schemaRegistry{t: t, user: "canary-registry-user", password: "canary-registry-password"}
	r.address = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *schemaRegistry) start() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	server, done := &http.Server{Handler: r}, make(chan struct{})
	r.mu.Lock()
	r.server, r.done = server, done
	r.mu.Unlock()
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends when it is closed
	}()
}

// stop makes it refuse connections, and breaks those that it has.
func (r *schemaRegistry) stop() {
	r.mu.Lock()
	server, done := r.server, r.done
	r.server = nil
	r.mu.Unlock()
	if server == nil {
		return
	}
	if err := server.Close(); err != nil {
		r.t.Error(err)
	}
	<-done
}

// answers makes f answer instead of the registry; nil is the registry again.
func (r *schemaRegistry) answers(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instead = f
}

// add registers a schema and gives its id.
func (r *schemaRegistry) add(kind, text string) int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.schemas) + 1
	r.schemas = append(r.schemas, knownSchema{kind, text, uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n))})
	return int32(n)
}

// name gives the GUID of a schema, as a header has it.
func (r *schemaRegistry) name(id int32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	guid := r.schemas[id-1].guid
	return "\x01" + string(guid[:])
}

// ServeHTTP answers one request.
func (r *schemaRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	all, instead := slices.Clone(r.schemas), r.instead
	r.mu.Unlock()
	if instead != nil {
		instead(w, request)
		return
	}
	user, password, _ := request.BasicAuth()
	if user != r.user || password != r.password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	for i, s := range all {
		if request.URL.Path == fmt.Sprintf("/schemas/ids/%d", i+1) || request.URL.Path == "/schemas/guids/"+s.guid.String() {
			answer, err := json.Marshal(map[string]any{"schema": s.text, "schemaType": s.kind})
			if err != nil {
				r.t.Error(err)
			}
			_, _ = w.Write(answer)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"error_code":40403,"message":"Schema not found"}`)
}

// configure adds the registry to a job.
func (r *schemaRegistry) configure(t *testing.T, j job) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(j.dir, "registry.password"), []byte(r.password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(j.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, j.dir, "lupa.yaml", string(text)+fmt.Sprintf(
		"schema_registry: {urls: [\"http://%s\"], username: %s, password_file: registry.password}\n", r.address, r.user))
}

// secrets are what must be in no log: who asks the registry, and by what word.
func (r *schemaRegistry) secrets() []string { return []string{r.user, r.password} }

// inFront puts the id of a schema before a payload.
func inFront(id int32, payload []byte) []byte {
	return append([]byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, payload...)
}

// told reports whether one of the texts contains the secret.
func told(secret string, texts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, secret) })
}
