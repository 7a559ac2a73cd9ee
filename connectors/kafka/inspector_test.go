package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"lupa/pipeline"
)

// exchange is a connection on which an answer waits.
type exchange struct {
	io.Reader
	written bytes.Buffer
}

func (e *exchange) Write(p []byte) (int, error) { return e.written.Write(p) }

// framed puts an answer's body behind its size and correlation id.
func framed(correlation int32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return append(b, body...)
}

func answerAbout(version int16, id [16]byte) *kmsg.MetadataResponse {
	res := kmsg.NewPtrMetadataResponse()
	res.Version = version
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID = kmsg.StringPtr("x"), id
	p := kmsg.NewMetadataResponseTopicPartition()
	p.Partition, p.Leader, p.LeaderEpoch = 3, 7, 9
	t.Partitions = append(t.Partitions, p)
	res.Topics = append(res.Topics, t)
	return res
}

func TestMetadataAnswers(t *testing.T) {
	body := answerAbout(12, [16]byte{1}).AppendTo(nil)
	old := answerAbout(8, [16]byte{}).AppendTo(nil)
	for _, test := range []struct {
		name    string
		version int16
		answer  []byte
		ok      bool
	}{
		{"flexible", 12, framed(5, append([]byte{0}, body...)), true},
		{"with a tag in its header", 12, framed(5, append([]byte{1, 9, 2, 'a', 'b'}, body...)), true},
		{"not flexible", 8, framed(5, old), true},
		{"to another question", 12, framed(4, append([]byte{0}, body...)), false},
		{"cut inside", 12, framed(5, append([]byte{0}, body[:len(body)-3]...)), false},
		{"cut on the way", 12, framed(5, append([]byte{0}, body...))[:20], false},
		{"a tag longer than the answer", 12, framed(5, []byte{1, 9, 200, 1}), false},
		{"more tags than there are", 12, framed(5, []byte{7, 1, 0}), false},
		{"no header", 12, framed(5, nil), false},
		{"longer than anything that is asked for", 12, []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 5}, false},
		{"of a size below nothing", 12, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5}, false},
	} {
		r := &metadataRequest{topic: "x", clientID: "test", version: test.version, correlation: 5}
		e := &exchange{Reader: bytes.NewReader(test.answer)}
		m, err := r.RawExchange(e)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !test.ok {
			continue
		}
		p := m.(*metadataResponse).Topics[0].Partitions[0]
		if p.Partition != 3 || p.Leader != 7 || p.LeaderEpoch != 9 {
			t.Errorf("%s: %+v", test.name, p)
		}
	}
}

// Whatever a broker sends, the answer is the one that was encoded or an error.
func FuzzMetadataAnswer(f *testing.F) {
	f.Add(int16(12), append([]byte{0}, answerAbout(12, [16]byte{1}).AppendTo(nil)...))
	f.Add(int16(8), answerAbout(8, [16]byte{}).AppendTo(nil))
	f.Add(int16(9), []byte{2, 1, 1, 0, 3, 0})
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < oldestMetadata || version > newestMetadata {
			return
		}
		r := &metadataRequest{topic: "x", version: version, correlation: 1}
		m, err := r.RawExchange(&exchange{Reader: bytes.NewReader(framed(1, body))})
		if err != nil {
			return
		}
		res := m.(*metadataResponse)
		again := res.AppendTo(nil)
		if res.IsFlexible() {
			again = append([]byte{0}, again...)
		}
		m, err = r.RawExchange(&exchange{Reader: bytes.NewReader(framed(1, again))})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(told(res), told(m.(*metadataResponse))); d != "" {
			t.Error(d)
		}
	})
}

// told is what is used of an answer.
func told(r *metadataResponse) []string {
	var list []string
	for _, t := range r.Topics {
		name := "none"
		if t.Topic != nil {
			name = fmt.Sprintf("%q", *t.Topic)
		}
		list = append(list, fmt.Sprint(name, t.TopicID, t.ErrorCode))
		for _, p := range t.Partitions {
			list = append(list, fmt.Sprint(p.Partition, p.Leader, p.LeaderEpoch))
		}
	}
	return list
}

// Old and new brokers are asked in a version that they speak, after another
// one has taken over as well.
func TestInspectorSpeaksEveryVersion(t *testing.T) {
	for name, v := range map[string]*kversion.Versions{
		"2.1": kversion.V2_1_0(), "2.7": kversion.V2_7_0(), "2.8": kversion.V2_8_0(), "newest": kversion.Stable(),
	} {
		k := fake(t, kfake.MaxVersions(v))
		topic(t, k, "x", 3, "compact")
		c := connect(t, k)
		i := inspector{client: &client{c, c.transport("x")}}
		for range 2 {
			got, err := i.inspect(bounded(t), "x")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(got.leaders) != 3 || got.leaders[pipeline.Partition{Topic: "x", ID: 2}].node != k.LeaderFor("x", 2) {
				t.Errorf("%s: %v", name, got.leaders)
			}
			if known := got.id != [16]byte{}; known != (i.version >= 10) || known && got.id != k.TopicInfo("x").TopicID {
				t.Errorf("%s: version %d, identity %x", name, i.version, got.id)
			}
		}
		if _, err := i.inspect(bounded(t), "nowhere"); !errors.Is(err, ErrNoTopic) {
			t.Errorf("%s: %v", name, err)
		}
		broken := true
		k.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
			if broken {
				broken = false
				k.KeepControl()
				return nil, errors.New("the connection breaks"), true
			}
			return nil, nil, false
		})
		i.version = 0
		for ctx := bounded(t); ; {
			_, err := i.inspect(ctx, "x")
			if err == nil {
				break
			}
			if classOf(err) != unreachable || i.version != 0 {
				t.Fatalf("%s: %v, version %d is kept", name, err, i.version)
			}
		}
		i.client.transport.CloseIdleConnections()
	}
	if c := classOf(errMetadataVersion); c != fatal {
		t.Error(c)
	}
	if c := classOf(kafkago.NotEnoughReplicas); c != brokerBusy {
		t.Error(c)
	}
}
