package kafka

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A ledger topic that lets go of withdrawals by itself is read, and told of.
func TestLedgersThatForgetAreToldOf(t *testing.T) {
	forever := map[string]string{"retention.ms": "-1", "retention.bytes": "-1"}
	for _, test := range []struct {
		name    string
		configs map[string]string
		why     string
	}{
		{"as brokers make them", nil, `cleanup.policy is "delete" with retention.ms "604800000"`},
		{"by age", map[string]string{"cleanup.policy": "delete", "retention.ms": "3600000", "retention.bytes": "-1"}, `retention.ms "3600000"`},
		{"by size", map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "1000"}, `retention.bytes "1000"`},
		{"at once", map[string]string{"cleanup.policy": "delete", "retention.ms": "0"}, `retention.ms "0"`},
		{"compacted and by age", map[string]string{"cleanup.policy": "compact,delete"}, `cleanup.policy is "compact,delete"`},
		{"compacted", map[string]string{"cleanup.policy": "compact"}, ""},
		{"tombstones go at once", map[string]string{"cleanup.policy": "compact", "delete.retention.ms": "0"}, `delete.retention.ms is "0"`},
		{"never", forever, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := fake(t)
			if err := k.CreateTopic("x", 2, test.configs); err != nil {
				t.Fatal(err)
			}
			checkForgets(t, k, test.why)
		})
	}
	t.Run("nobody may know", func(t *testing.T) {
		k := fake(t)
		topic(t, k, "x", 2, "compact")
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Resource: "x", Err: kerr.TopicAuthorizationFailed, Count: -1})
		checkForgets(t, k, "its configuration may not be read")
	})
	t.Run("the first are gone", func(t *testing.T) {
		k := fake(t)
		if err := k.CreateTopic("x", 2, forever); err != nil {
			t.Fatal(err)
		}
		p := producer(t, k)
		put(t, p, "x", 1, "a", "b", "c")
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 1000
		part := kmsg.NewDeleteRecordsRequestTopicPartition()
		part.Partition, part.Offset = 1, 2
		name := kmsg.NewDeleteRecordsRequestTopic()
		name.Topic, name.Partitions = "x", []kmsg.DeleteRecordsRequestTopicPartition{part}
		req.Topics = append(req.Topics, name)
		for _, shard := range p.RequestSharded(bounded(t), req) {
			if shard.Err != nil {
				t.Fatal(shard.Err)
			}
		}
		checkForgets(t, k, "its first records have been deleted")
	})
}

// checkForgets holds what is told of the topic x to what it should say.
func checkForgets(t *testing.T, k *kfake.Cluster, why string) {
	t.Helper()
	c, log := connectAndListen(t, k)
	d, err := c.Describe(bounded(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	if d.Partitions != 2 || (why == "") != (d.Forgets == "") || !strings.Contains(d.Forgets, why) {
		t.Errorf("told: %+v", d)
	}
	l := follow(t, c, &table{}, LedgerOptions{})
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Error(err)
	}
	want := 1
	if why == "" {
		want = 0
	}
	if n := log.count("the ledger topic forgets records"); n != want {
		t.Errorf("logged %d times", n)
	}
}

// A view that was not at the end of a compacted ledger for too long may have
// missed tombstones for good: what they took back would still be granted.
func TestTombstonesMayBeMissed(t *testing.T) {
	for _, test := range []struct {
		name   string
		behind time.Duration
		quiet  time.Duration
		missed bool
	}{
		{"in time", 11 * time.Hour, 0, false},
		{"too late", 13 * time.Hour, 0, true},
		{"nothing came for long", 11 * time.Hour, 300 * time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := fake(t)
			topic(t, k, "x", 1, "compact")
			p := producer(t, k)
			putKey(t, p, 0, "a", []byte("1"))
			l, err := connect(t, k, func(o *Options) { o.FetchWait = 20 * time.Millisecond }).Ledger("x", &table{}, LedgerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			begin, passed := time.Now(), atomic.Int64{}
			l.now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
			if err := l.Start(bounded(t)); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			passed.Add(int64(test.quiet))
			quiet := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "x", Observe: true, Count: -1})
			if err := quiet.Wait(bounded(t), 3); err != nil { // empty answers
				t.Fatal(err)
			}
			quiet.Remove()

			away := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "x", Err: kerr.KafkaStorageError, Count: -1})
			if err := away.Wait(bounded(t), 1); err != nil {
				t.Fatal(err)
			}
			putKey(t, p, 0, "a", nil)
			putKey(t, p, 0, "b", []byte("2"))
			passed.Add(int64(test.behind))
			away.Remove()
			if _, err := l.Barrier(bounded(t)); errors.Is(err, errTombstones) != test.missed || !test.missed && err != nil {
				t.Errorf("the barrier gives %v", err)
			}
		})
	}
}

func TestDescribeNamesWhatIsNotThere(t *testing.T) {
	c := connect(t, fake(t))
	if _, err := c.Describe(bounded(t), "nowhere"); err == nil || !strings.Contains(err.Error(), "no such topic") {
		t.Error(err)
	}
}
