package main

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// oldestAnswered are the oldest versions that Apache Kafka 4.0 answers.
func oldestAnswered() map[kmsg.Key]int16 {
	return map[kmsg.Key]int16{
		kmsg.Produce: 3, kmsg.Fetch: 4, kmsg.ListOffsets: 1, kmsg.Metadata: 0, kmsg.OffsetCommit: 2, kmsg.OffsetFetch: 1,
		kmsg.FindCoordinator: 0, kmsg.JoinGroup: 2, kmsg.Heartbeat: 0, kmsg.LeaveGroup: 0, kmsg.SyncGroup: 0,
		kmsg.ApiVersions: 0, kmsg.DescribeConfigs: 1,
	}
}

// TestProtocolFloor runs a whole job, of two processes with a strict ledger and
// a quarantine in a topic, on brokers that answer what those of 4.0 do, and what
// those of 2.1 do. No request is in a version that the one has removed, or the
// other does not know yet.
func TestProtocolFloor(t *testing.T) {
	t.Parallel()
	for name, versions := range map[string]*kversion.Versions{"2.1": kversion.V2_1_0(), "4.0": kversion.V4_0_0()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, kfake.MaxVersions(versions), kfake.SeedTopics(1, "rejected"))
			b.produce(t, demoEvents, theSample(t).Events()[:1500])
			var mu sync.Mutex
			asked := map[kmsg.Key]bool{}
			b.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
				b.KeepControl()
				mu.Lock()
				defer mu.Unlock()
				key, version := kmsg.Key(r.Key()), r.GetVersion()
				asked[key] = true
				floor, known := oldestAnswered()[key]
				ceiling, ok := versions.LookupMaxKeyVersion(r.Key())
				if !known || !ok || version < floor || version > ceiling {
					t.Errorf("%s v%d is asked; v%d to v%d is answered", key.Name(), version, floor, ceiling)
				}
				return nil, nil, false
			})
			j := newJob(t, b, "", 200*time.Millisecond)
			j.change(t, "topic: "+demoLedger+"}", "topic: "+demoLedger+", strict: true}")
			j.change(t, "{dir: quarantine}", "{topic: rejected}")
			if code, out, _ := command(t, "check", "-c", j.config); code != exitOK {
				t.Errorf("check ends with %d:\n%s", code, out)
			}
			first, second := j.stream(t), j.stream(t)
			second.must(t, streamingLine)
			first.until(t, "all of it is committed", func() bool { return caughtUp(t, j.warehouse(), b.ends(t)) })
			first.stop(t, exitOK)
			second.must(t, "partitions=4")
			second.stop(t, exitOK)
			mu.Lock()
			defer mu.Unlock()
			for key := range oldestAnswered() {
				if asked[key] == (key == kmsg.OffsetCommit) {
					t.Errorf("%s: asked is %t", key.Name(), asked[key])
				}
			}
		})
	}
}
