package kafka

import (
	"strings"
	"testing"

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

func TestDescribeNamesWhatIsNotThere(t *testing.T) {
	c := connect(t, fake(t))
	if _, err := c.Describe(bounded(t), "nowhere"); err == nil || !strings.Contains(err.Error(), "no such topic") {
		t.Error(err)
	}
}
