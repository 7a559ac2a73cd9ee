// Package pgtest starts a real PostgreSQL server for tests.
//
// A server is one private cluster in a directory of its own that listens on
// loopback alone and asks for a password.
//
//	pg := pgtest.Start(t)
//	dsn := pg.Database(t) // a new, empty database
//	err := pg.Stop()      // connections break
//	err = pg.Restart()    // same port, same data
//
// It is made to be quick and keeps nothing safe from a power cut. It ends with
// the program that started it, on Linux also when that is killed. PostgreSQL
// refuses to run as root, so for root it runs as the user postgres or nobody.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	user     = "lupa"
	password = "only-for-tests"
	// startTimeout bounds how long the server may take until it answers.
	startTimeout = 30 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// Server is one cluster.
type Server struct {
	bin, dir string
	port     int
	run      *account // nil: as who runs the tests

	process *os.Process
	done    chan struct{} // closed when process has ended
}

// Start runs a server for the length of a test. Where PostgreSQL is not
// installed the test is skipped; with CI set it fails.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := find()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, nothing of this was tested: ", err)
	}
	s, err := start(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", s.tail())
		}
		if err := errors.Join(s.Stop(), os.RemoveAll(s.dir)); err != nil {
			t.Error(err)
		}
	})
	return s
}

// find gives the folder of initdb and postgres: one on PATH, or where Debian
// puts the newest version.
func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(installed) == 0 {
		return "", errors.New("PostgreSQL is not installed: initdb is neither on PATH nor in /usr/lib/postgresql/*/bin")
	}
	return filepath.Dir(slices.MaxFunc(installed, func(a, b string) int {
		return len(a) - len(b) + strings.Compare(a, b)
	})), nil
}

func start(bin string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, port: port}
	if err := s.init(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.Restart(); err != nil {
		return nil, errors.Join(err, s.Stop(), os.RemoveAll(dir))
	}
	return s, nil
}

// init makes the cluster.
func (s *Server) init() (err error) {
	if s.run, err = unprivileged(); err != nil {
		return err
	}
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	if s.run != nil {
		for _, path := range []string{s.dir, secret} {
			if err := os.Chown(path, s.run.uid, s.run.gid); err != nil {
				return err
			}
		}
	}
	cmd := s.command("initdb", "--pgdata="+s.data(), "--username="+user, "--pwfile="+secret,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

// command runs a program of the server's, as the user that may.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = attributes(s.run)
	return cmd
}

// Restart starts the server if it is down, on its port and its data, and
// returns when it answers.
func (s *Server) Restart() error {
	if s.running() {
		return errors.New("the server runs")
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command("postgres", "-D", s.data(), "-p", fmt.Sprint(s.port), "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "shared_buffers=16MB", "-c", "max_connections=60", "-c", "autovacuum=off")
	cmd.Stdout, cmd.Stderr = log, log
	started, done := make(chan error), make(chan struct{})
	go run(cmd, started, done)
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.process, s.done = cmd.Process, done
	return s.ready()
}

func (s *Server) running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		c, err := pgx.Connect(ctx, s.dsn("postgres"))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-time.After(pollEvery):
		case <-s.done:
			return fmt.Errorf("postgres has ended:\n%s", s.tail())
		case <-ctx.Done():
			return fmt.Errorf("postgres is not ready: %w\n%s", err, s.tail())
		}
	}
}

// Stop ends the server and every connection with it, and waits until it is
// gone.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Kill ends the server as a crash would: the next start recovers.
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

func (s *Server) end(how syscall.Signal) error {
	if !s.running() {
		return nil
	}
	if err := s.process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(startTimeout):
		return errors.Join(errors.New("postgres did not end in time"), s.process.Kill())
	}
}

// Port is where the server listens on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// Socket is the directory of the server's socket.
func (s *Server) Socket() string { return s.dir }

// UseTLS gives the server a certificate and its key, both in PEM. Who asks for
// TLS gets it from now on.
func (s *Server) UseTLS(cert, key []byte) error {
	for name, content := range map[string][]byte{"server.crt": cert, "server.key": key} {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		if s.run != nil {
			if err := os.Chown(path, s.run.uid, s.run.gid); err != nil {
				return err
			}
		}
	}
	config, err := os.OpenFile(filepath.Join(s.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := config.WriteString("ssl = on\n"); err != nil {
		return errors.Join(err, config.Close())
	}
	return errors.Join(config.Close(), s.Stop(), s.Restart())
}

// Database makes a new, empty database and gives its connection string.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name+" STRATEGY wal_log"); err != nil {
		t.Fatal(errors.Join(err, c.Close(ctx)))
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return s.dsn(name)
}

// Password is the password in the connection strings, for tests that look
// whether it shows up elsewhere.
func (s *Server) Password() string { return password }

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, s.port, database)
}

// tail is the end of the server's log.
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
