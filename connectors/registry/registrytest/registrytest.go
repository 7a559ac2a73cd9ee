// Package registrytest starts a real schema registry for tests.
//
// It is Apicurio Registry, which answers on one of its paths as Confluent's
// registry does, keeps everything in memory and listens on loopback alone. It
// ends with the program that started it, on Linux also when that is killed.
//
// The program is fetched by Maven as pom.xml says: `make integration` does it.
package registrytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	// startTimeout bounds how long the registry may take until it answers.
	startTimeout = 2 * time.Minute
	pollEvery    = 100 * time.Millisecond
	mostBytes    = 1 << 20
)

// Server is one registry.
type Server struct {
	app, dir string
	port     int

	process *os.Process
	done    chan struct{} // closed when process has ended
}

// Run runs a registry for the length of a test. The program is in the folder
// that LUPA_REGISTRY_APP names; without it the test fails.
func Run(t testing.TB) *Server {
	t.Helper()
	app := os.Getenv("LUPA_REGISTRY_APP")
	if app == "" {
		t.Fatal("LUPA_REGISTRY_APP does not name the folder of the registry's program; make integration sets it")
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{app: app, dir: t.TempDir(), port: port}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the registry's log:\n%s", s.tail())
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Start starts a registry that is down, empty and on its port, and returns
// when it answers.
func (s *Server) Start() error {
	jars, err := filepath.Glob(filepath.Join(s.app, "*-runner.jar"))
	if err != nil {
		return err
	}
	if len(jars) != 1 {
		return fmt.Errorf("%d files *-runner.jar in the folder of the registry's program, want 1", len(jars))
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// A short run does not earn back what the optimizing compiler costs.
	cmd := exec.Command("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dquarkus.http.host=127.0.0.1", fmt.Sprintf("-Dquarkus.http.port=%d", s.port), "-jar", jars[0])
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = attributes()
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends a child of dying parents when the thread that made
		// it ends, so that thread stays for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended does not matter: its log says why
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start registry: %w", err)
	}
	s.process, s.done = cmd.Process, done
	return s.ready()
}

func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.call(ctx, http.MethodGet, "/subjects", nil, new([]string))
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-s.done:
			return fmt.Errorf("registry has ended:\n%s", s.tail())
		case <-ctx.Done():
			return fmt.Errorf("registry is not ready: %w\n%s", err, s.tail())
		}
	}
}

// Stop ends the registry, and all that it knows is gone.
func (s *Server) Stop() error {
	if s.done == nil {
		return nil
	}
	if err := s.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.done
	return nil
}

// URL is where the registry answers as Confluent's does.
func (s *Server) URL() string { return fmt.Sprintf("http://127.0.0.1:%d/apis/ccompat/v7", s.port) }

// Reference is a schema that another one refers to.
type Reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// Register gives a schema to the registry and its id back. The type is AVRO,
// JSON or PROTOBUF.
func (s *Server) Register(t testing.TB, subject, typ, text string, refs ...Reference) int32 {
	t.Helper()
	body, err := json.Marshal(map[string]any{"schema": text, "schemaType": typ, "references": refs})
	if err != nil {
		t.Fatal(err)
	}
	var registered struct {
		ID int32 `json:"id"`
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.call(ctx, http.MethodPost, "/subjects/"+url.PathEscape(subject)+"/versions", body, &registered); err != nil {
		t.Fatalf("register %s: %v", subject, err)
	}
	return registered.ID
}

func (s *Server) call(ctx context.Context, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d: %s", resp.StatusCode, strings.TrimSpace(string(answer)))
	}
	return json.Unmarshal(answer, into)
}

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// tail is the end of the registry's log.
func (s *Server) tail() string {
	const most = 4 << 10
	log, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-most):])
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
