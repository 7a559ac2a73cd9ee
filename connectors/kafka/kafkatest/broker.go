package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// pollEvery is how often a broker is asked whether it has come as far.
const pollEvery = 25 * time.Millisecond

// broker is one process and what it leaves behind.
type broker struct {
	id, port, controllerPort int
	listeners                [numListeners]int // ports
	secured                  *secured          // nil is none
	jars, dir                string

	process *os.Process
	done    chan struct{} // closed when process has ended
}

func (b *broker) address() string { return fmt.Sprint("127.0.0.1:", b.port) }
func (b *broker) listener(l Listener) string {
	return fmt.Sprint("127.0.0.1:", b.listeners[l])
}
func (b *broker) config() string     { return filepath.Join(b.dir, "server.properties") }
func (b *broker) logFile() string    { return filepath.Join(b.dir, "log") }
func (b *broker) controller() string { return fmt.Sprintf("%d@127.0.0.1:%d", b.id, b.controllerPort) }

// properties is the broker's configuration. What is not about addresses makes
// it small, or makes it notice sooner that another has died.
func (b *broker) properties(all []*broker) string {
	var voters []string
	for _, o := range all {
		voters = append(voters, o.controller())
	}
	replicas := min(len(all), 3)
	clients, protocols, more := "CLIENT://"+b.address(), "CLIENT:PLAINTEXT", ""
	if b.secured != nil {
		for l := range numListeners {
			clients += fmt.Sprintf(",%s://%s", l.name(), b.listener(l))
			protocols += fmt.Sprintf(",%s:%s", l.name(), l.protocol())
		}
		more = b.secured.properties()
	}
	return fmt.Sprintf(`process.roles=broker,controller
node.id=%d
listeners=%s,CONTROLLER://127.0.0.1:%d
advertised.listeners=%[2]s
listener.security.protocol.map=%[8]s,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.voters=%[4]s
log.dirs=%[5]s
default.replication.factor=%[6]d
min.insync.replicas=%[7]d
offsets.topic.replication.factor=%[6]d
transaction.state.log.replication.factor=%[6]d
transaction.state.log.min.isr=%[7]d
transaction.state.log.num.partitions=1
num.network.threads=1
num.io.threads=2
broker.heartbeat.interval.ms=250
broker.session.timeout.ms=3000
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=100
log.cleaner.dedupe.buffer.size=4194304
%[9]s`, b.id, clients, b.controllerPort, strings.Join(voters, ","), filepath.Join(b.dir, "data"),
		replicas, (replicas+2)/2, protocols, more)
}

// java makes a command that runs a class of the jars. Few runs are long enough
// for the optimizing compiler to pay.
func (b *broker) java(ctx context.Context, class string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "java", append([]string{
		"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", filepath.Join(b.jars, "*"), class,
	}, args...)...)
}

// format writes the configuration and makes the data directory.
func (b *broker) format(ctx context.Context, clusterID string, all []*broker) error {
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(b.config(), []byte(b.properties(all)), 0o644); err != nil {
		return err
	}
	tool := b.java(ctx, "kafka.tools.StorageTool", "format", "--cluster-id="+clusterID, "--config", b.config())
	if out, err := tool.CombinedOutput(); err != nil {
		return fmt.Errorf("format broker %d: %w: %s", b.id, err, out)
	}
	return nil
}

// start starts the process and does not wait for more.
func (b *broker) start() error {
	if b.running() {
		return fmt.Errorf("broker %d runs", b.id)
	}
	log, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := b.java(context.Background(), "kafka.Kafka", b.config())
	cmd.Stdout, cmd.Stderr = log, log
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends a child of dying parents when the thread that made
		// it ends, so that thread stays for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := start(cmd)
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended does not matter: its log says why
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start broker %d: %w", b.id, err)
	}
	b.process, b.done = cmd.Process, done
	return nil
}

func (b *broker) running() bool {
	if b.done == nil {
		return false
	}
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// ready waits until the broker itself lists that many brokers, it among them.
func (b *broker) ready(ctx context.Context, brokers int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		known, err := b.metadata(ctx)
		if err == nil && len(known.Brokers) >= brokers && known.Controller >= 0 && slices.Contains(known.Brokers.NodeIDs(), int32(b.id)) {
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-b.done:
			return fmt.Errorf("broker %d has ended:\n%s", b.id, b.tail())
		case <-ctx.Done():
			return fmt.Errorf("broker %d is not ready: %w\n%s", b.id, ctx.Err(), b.tail())
		}
	}
}

// metadata asks this broker, and no other, for what it knows of the cluster
// and of the topics.
func (b *broker) metadata(ctx context.Context, topics ...string) (kadm.Metadata, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.address()), kgo.RequestRetries(0))
	if err != nil {
		return kadm.Metadata{}, err
	}
	defer client.Close()
	return kadm.NewClient(client).Metadata(ctx, topics...)
}

func (b *broker) kill() error {
	if !b.running() {
		return fmt.Errorf("broker %d does not run", b.id)
	}
	if err := b.process.Kill(); err != nil {
		return err
	}
	<-b.done
	return nil
}

// stop ends the process in order, and if that takes too long, without.
func (b *broker) stop() error {
	if !b.running() {
		return nil
	}
	if err := b.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-b.done:
		return nil
	case <-time.After(15 * time.Second):
		return b.kill()
	}
}

// tail is the end of the broker's log.
func (b *broker) tail() string {
	const most = 4 << 10
	log, err := os.ReadFile(b.logFile())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-most):])
}
