package kafka

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
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

// The client library's errors hold whole messages. None of them gets out,
// whoever refuses a message and whatever is asked of the error.
func TestProduceErrorsHoldNoMessage(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	refuse := int16(0)
	k.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		res := r.ResponseKind().(*kmsg.ProduceResponse)
		p := kmsg.NewProduceResponseTopicPartition()
		message := canary
		p.ErrorCode, p.ErrorMessage = refuse, &message
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.Partitions = "x", []kmsg.ProduceResponseTopicPartition{p}
		res.Topics = append(res.Topics, rt)
		return res, nil, refuse != 0
	})
	p := connect(t, k).Producer()
	defer p.Close()
	large := []byte(canary + strings.Repeat("s", 2<<20))
	small := []byte(canary)
	for _, test := range []struct {
		name        string
		code        int16
		topic       string
		key, values []byte
		want        string
	}{
		{"a value that the writer does not take", 0, "x", nil, large, "kafka: produce to x: a record is larger than the writer takes"},
		{"a key that the writer does not take", 0, "x", large, nil, "kafka: produce to x: a record is larger than the writer takes"},
		{"a value that the broker does not take", 10, "x", small, small, "kafka: produce to x: [10] Message Size Too Large: "},
		{"a record that the broker does not take", 87, "x", small, small, "kafka: produce to x: [87] "},
		{"a topic that is not there", 0, "y", small, small, "kafka: produce to y: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			refuse = test.code
			err := p.Produce(bounded(t), test.topic, [][]byte{[]byte("fine"), test.key}, [][]byte{[]byte("fine"), test.values})
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Fatal(err)
			}
			var too kafkago.MessageTooLargeError
			var some kafkago.WriteErrors
			if errors.As(err, &too) || errors.As(err, &some) {
				t.Error("the library's error can be had")
			}
			for _, form := range []string{"%v", "%+v", "%#v", "%q", "%x"} {
				text := fmt.Sprintf(form, err)
				if leaks(t, text); len(text) > 1000 {
					t.Errorf("%s is long", form)
				}
			}
		})
	}
}
