package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd file can make the decoder hold; it is what the
// format's own tool accepts without being told to take more.
const maxWindow = 128 << 20

// input is an open file, decompressed as it is read.
type input struct {
	f    *os.File
	size int64 // when it was opened
	info os.FileInfo
	disk *counter
	body io.Reader
	kind string // gzip, zstd or empty
}

// decoders are reused from file to file. Only one goroutine uses them.
type decoders struct {
	gzip *gzip.Reader
	zstd *zstd.Decoder
}

func (d *decoders) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

// counter counts bytes as they come from disk.
type counter struct {
	r     io.Reader
	at    int64
	total *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.at += int64(n)
	if c.total != nil {
		c.total.Add(int64(n))
	}
	return n, err
}

// foreign are the first bytes of files that would pass for a few very odd
// lines.
var foreign = [...]struct{ magic, name string }{
	{"PK\x03\x04", "a zip archive"},
	{"BZh", "a bzip2 file"},
	{"\xfd7zXZ\x00", "an xz file"},
	{"\x04\x22\x4d\x18", "an lz4 file"},
	{"PAR1", "a Parquet file"},
	{"Obj\x01", "an Avro file"},
	{"ORC", "an ORC file"},
}

// open opens a file; total, when there is one, counts what is read of it.
func (d *decoders) open(name string, total *atomic.Int64) (*input, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	in := &input{f: f}
	if err := d.start(in, name, total); err != nil {
		f.Close()
		return nil, err
	}
	return in, nil
}

func (d *decoders) start(in *input, name string, total *atomic.Int64) error {
	info, err := in.f.Stat()
	if err != nil {
		return err
	}
	in.info, in.size = info, info.Size()
	in.disk = &counter{r: in.f, total: total}
	in.body = in.disk
	var first [8]byte
	n, err := in.f.ReadAt(first[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	magic := first[:n]
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		in.kind = "gzip"
		return d.startGzip(in)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18}):
		in.kind = "zstd"
		return d.startZstd(in)
	}
	for _, x := range foreign {
		if bytes.HasPrefix(magic, []byte(x.magic)) {
			return fmt.Errorf("is %s, which is not read", x.name)
		}
	}
	if ext := filepath.Ext(name); n < 4 && (ext == ".gz" || ext == ".zst") {
		return fmt.Errorf("has %d bytes: no compressed file is that short", n)
	}
	return nil
}

func (d *decoders) startGzip(in *input) error {
	var err error
	if d.gzip == nil {
		d.gzip, err = gzip.NewReader(in.disk)
	} else {
		err = d.gzip.Reset(in.disk)
	}
	if err != nil {
		d.gzip = nil
		return in.fault(err)
	}
	in.body = d.gzip
	return nil
}

func (d *decoders) startZstd(in *input) error {
	var err error
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(in.disk, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(false), zstd.WithDecoderMaxWindow(maxWindow))
	} else {
		err = d.zstd.Reset(in.disk)
	}
	if err != nil {
		return in.fault(err)
	}
	in.body = d.zstd
	return nil
}

// fault says where reading failed and how, without what was read there.
func (in *input) fault(err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("zstd window is over %d bytes", maxWindow)
	case in.kind == "":
		return fmt.Errorf("byte %d: %w", in.disk.at, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%s data ends early, at byte %d", in.kind, in.disk.at)
	}
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return fmt.Errorf("byte %d: %w", in.disk.at, err)
	}
	return fmt.Errorf("%s data is damaged, before byte %d", in.kind, in.disk.at)
}

// unchanged fails when the file is not as it was when it was opened.
func (in *input) unchanged() error {
	info, err := in.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != in.size || !info.ModTime().Equal(in.info.ModTime()) {
		return errors.New("changed while it was read")
	}
	return nil
}
