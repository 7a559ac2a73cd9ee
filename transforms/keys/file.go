package keys

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

const (
	formatName    = "lupa-keys"
	formatVersion = 1
	maxFileBytes  = 1 << 20
	fileMode      = 0o600
	createdLayout = "2006-01-02T15:04:05Z"
)

// fileBody is the key file as FORMAT.md describes it. Nothing of it is kept or
// printed: it holds the keys as cleartext.
type fileBody struct {
	Format  string      `json:"format"`
	Version int         `json:"version"`
	Epochs  []fileEpoch `json:"epochs"`
}

type fileEpoch struct {
	Epoch   int             `json:"epoch"`
	Status  Status          `json:"status"`
	Created string          `json:"created"`
	Check   string          `json:"check"`
	Keyset  json.RawMessage `json:"keyset"`
}

// Init makes a keyset with one fresh key and writes it to a new file that only
// its owner may read. It never overwrites: if there is a file, the error is
// fs.ErrExist. The keys in the file are not encrypted. Whoever reads it can
// tell which token is whose, so keep it away from the tables and their backups;
// whoever loses it can never make those tokens again.
func Init(path string, now time.Time) error {
	h, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return errors.New("init keys: no key was made")
	}
	first, err := newFileEpoch(h, 1, now)
	if err != nil {
		return fmt.Errorf("init keys: %w", err)
	}
	body, err := json.MarshalIndent(fileBody{formatName, formatVersion, []fileEpoch{first}}, "", "  ")
	clear(first.Keyset)
	if err != nil {
		return errors.New("init keys: no JSON was made")
	}
	defer clear(body)
	if err := writeNew(path, append(body, '\n')); err != nil {
		return fmt.Errorf("init keys: %w", err)
	}
	return nil
}

func newFileEpoch(h *keyset.Handle, epoch int, now time.Time) (fileEpoch, error) {
	set, err := newEpochKey(h)
	if err != nil {
		return fileEpoch{}, fmt.Errorf("key of epoch %d %w", epoch, err)
	}
	check, err := checkValue(set)
	if err != nil {
		return fileEpoch{}, err
	}
	var cleartext bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&cleartext)); err != nil {
		return fileEpoch{}, fmt.Errorf("key of epoch %d makes no JSON", epoch)
	}
	return fileEpoch{epoch, Primary, now.UTC().Format(createdLayout), check, cleartext.Bytes()}, nil
}

func checkValue(set *prf.Set) (string, error) {
	sum, err := set.ComputePrimaryPRF([]byte(checkLabel), checkBytes)
	if err != nil {
		return "", errors.New("key gives no check value")
	}
	return hex.EncodeToString(sum), nil
}

// writeNew makes the file appear under its name whole and durable, or not at
// all.
func writeNew(path string, body []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".lupa-keys-*.tmp")
	if err != nil {
		return err
	}
	err = fill(f, body)
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	// In any case, for it would be a second name of the keys.
	if removed := os.Remove(f.Name()); err == nil {
		err = removed
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func fill(f *os.File, body []byte) error {
	err := f.Chmod(fileMode)
	if err == nil {
		_, err = f.Write(body)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Open reads a key file. It refuses a file that group or others may use in any
// way, also behind a symbolic link, and every key that is not as FORMAT.md says.
func Open(path string) (*Keyset, error) {
	body, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	defer clear(body)
	k, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("open keys: %s: %w", path, err)
	}
	return k, nil
}

func readPrivate(path string) ([]byte, error) {
	// Looked at before it is opened, because opening a pipe would wait, and
	// again after, because it may be another file by then.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxFileBytes {
		return nil, fmt.Errorf("%s: more than %d bytes, which is no key file", path, maxFileBytes)
	}
	return body, nil
}

func private(path string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: mode is %#o, want %#o or narrower: nobody but the owner may use the keys", path, mode, fileMode)
	}
	return nil
}

// parse reads the body of a key file. Errors never repeat what stands in it.
func parse(body []byte) (*Keyset, error) {
	var file fileBody
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, errors.New("not a key file")
	}
	defer func() {
		for i := range file.Epochs {
			clear(file.Epochs[i].Keyset)
		}
	}()
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("not a key file: something follows the object")
	}
	if file.Format != formatName {
		return nil, fmt.Errorf("not a key file: format is not %s", formatName)
	}
	if file.Version != formatVersion {
		return nil, fmt.Errorf("version %d of the format, want %d", file.Version, formatVersion)
	}
	if n := len(file.Epochs); n == 0 || n > maxEpoch {
		return nil, fmt.Errorf("has %d epochs, want 1 to %d", n, maxEpoch)
	}
	k := &Keyset{}
	for i := range file.Epochs {
		want := Chained
		if i == len(file.Epochs)-1 {
			want = Primary
		}
		key, err := parseEpoch(&file.Epochs[i], i+1, want)
		if err != nil {
			return nil, fmt.Errorf("key of epoch %d %w", i+1, err)
		}
		k.epochs = append(k.epochs, key)
	}
	return k, nil
}

func parseEpoch(e *fileEpoch, number int, status Status) (epochKey, error) {
	if e.Epoch != number {
		return epochKey{}, errors.New("is missing or out of order")
	}
	if e.Status != status {
		return epochKey{}, fmt.Errorf("has another status than %s", status)
	}
	created, err := time.Parse(createdLayout, e.Created)
	if err != nil {
		return epochKey{}, fmt.Errorf("has no creation time of the form %s", createdLayout)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(e.Keyset)))
	if err != nil {
		return epochKey{}, errors.New("is no valid Tink keyset with an enabled primary key")
	}
	set, err := newEpochKey(h)
	if err != nil {
		return epochKey{}, err
	}
	check, err := checkValue(set)
	if err != nil {
		return epochKey{}, err
	}
	if e.Check != check {
		return epochKey{}, errors.New("does not match its check value: the file is damaged or was edited")
	}
	return epochKey{EpochInfo{uint8(number), status, created, check}, set}, nil
}
