package decode

import "fmt"

// Options are the limits of a decoder.
type Options struct {
	// MaxDepth is how many objects and arrays may be open at once; 64 when 0.
	MaxDepth int
	// MaxMessageBytes is the length of the longest message; 1 MiB when 0.
	MaxMessageBytes int
}

const (
	defaultMaxDepth        = 64
	defaultMaxMessageBytes = 1 << 20
	highestMaxDepth        = 10_000
	highestMaxMessageBytes = 1 << 30
)

func (o Options) filled() (Options, error) {
	if o.MaxDepth == 0 {
		o.MaxDepth = defaultMaxDepth
	}
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = defaultMaxMessageBytes
	}
	if o.MaxDepth < 1 || o.MaxDepth > highestMaxDepth {
		return o, fmt.Errorf("decode: max depth is %d, must be 1 to %d", o.MaxDepth, highestMaxDepth)
	}
	if o.MaxMessageBytes < 1 || o.MaxMessageBytes > highestMaxMessageBytes {
		return o, fmt.Errorf("decode: max message bytes is %d, must be 1 to %d", o.MaxMessageBytes, highestMaxMessageBytes)
	}
	return o, nil
}
