package kafka

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestProducerWritesWhatIsRead(t *testing.T) {
	k := fake(t)
	c := connect(t, k)
	if err := c.CreateTopic(bounded(t), "x", 3, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic(bounded(t), "x", 3, nil); !errors.Is(err, ErrTopicExists) {
		t.Fatal(err)
	}
	acks := int16(0)
	k.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		acks = r.(*kmsg.ProduceRequest).Acks
		return nil, nil, false
	})
	p := c.Producer()
	defer p.Close()
	view := &table{}
	l := follow(t, c, view, LedgerOptions{Partitions: 3})
	var keys, values [][]byte
	for i := range 100 {
		keys = append(keys, fmt.Append(nil, "key", i))
		values = append(values, fmt.Append(nil, "value", i))
	}
	if err := p.Produce(bounded(t), "x", keys, values); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(bounded(t), "x", keys[:1], [][]byte{nil}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if got := view.copy(); len(got) != 99 || got["key7"] != "value7" {
		t.Errorf("%d rows", len(got))
	}
	if acks != -1 {
		t.Errorf("acks %d", acks)
	}
	if err := p.Produce(bounded(t), "x", keys[:2], values[:1]); err == nil {
		t.Error("keys without values pass")
	}
}

// A key goes where Java's default partitioner puts it.
func TestProducerPartitionsLikeJava(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 7, "delete")
	topic(t, k, "java", 7, "delete")
	c := connect(t, k)
	p := c.Producer()
	defer p.Close()
	java, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...)) // its default is Java's
	if err != nil {
		t.Fatal(err)
	}
	defer java.Close()
	hash := fnv.New32a()
	for i := range 40 {
		fmt.Fprint(hash, i)
		key := fmt.Append(nil, hash.Sum32())
		if err := p.Produce(bounded(t), "x", [][]byte{key}, [][]byte{key}); err != nil {
			t.Fatal(err)
		}
		if err := java.ProduceSync(bounded(t), &kgo.Record{Topic: "java", Key: key, Value: key}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for id := range int32(7) {
		if a, b := k.PartitionInfo("x", id).HighWatermark, k.PartitionInfo("java", id).HighWatermark; a != b {
			t.Errorf("partition %d has %d records, %d by Java's rule", id, a, b)
		}
	}
}

func TestProduceErrorsHoldNoMessage(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	p := connect(t, k).Producer()
	defer p.Close()
	secret := []byte("secret " + strings.Repeat("s", 2<<20))
	err := p.Produce(bounded(t), "x", nil, [][]byte{[]byte("fine"), secret})
	if err == nil {
		t.Fatal("two megabytes pass")
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%q"} {
		if text := fmt.Sprintf(form, err); strings.Contains(text, "secret") || len(text) > 1000 {
			t.Errorf("%s shows the message", form)
		}
	}
}
