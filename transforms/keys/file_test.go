package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkmac "github.com/tink-crypto/tink-go/v2/mac"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"

	"lupa/schemas"
)

var created = time.Date(2026, 3, 1, 12, 30, 15, 0, time.UTC)

func TestInitAndOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.json")
	if err := Init(path, created.In(time.FixedZone("", 7200))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Fatalf("%v in the directory, %v", entries, err)
	}

	var tokens []schemas.Token
	for range 2 {
		k, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		list := k.Epochs()
		if len(list) != 1 || len(list[0].Check) != 16 {
			t.Fatalf("epochs %+v", list)
		}
		list[0].Check = ""
		if diff := cmp.Diff([]EpochInfo{{Epoch: 1, Status: Primary, Created: created}}, list); diff != "" {
			t.Fatal(diff)
		}
		if k.Epoch() != 1 {
			t.Fatalf("epoch %d", k.Epoch())
		}
		d, err := k.Domain("warehouse")
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, d.Token(schemas.UserID, []byte("7")))
	}
	if tokens[0] != tokens[1] || tokens[0].IsZero() {
		t.Errorf("tokens %v", tokens)
	}
}

func TestInitMakesAnotherKeyEachTime(t *testing.T) {
	dir, seen := t.TempDir(), map[string]bool{}
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := Init(path, created); err != nil {
			t.Fatal(err)
		}
		k, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if check := k.Epochs()[0].Check; seen[check] {
			t.Fatal("the same key twice")
		} else {
			seen[check] = true
		}
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	file, link, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(file, link), os.Symlink(filepath.Join(dir, "none"), dangling)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dangling, dir} {
		if err := Init(path, created); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
	if body, err := os.ReadFile(file); err != nil || string(body) != "mine" {
		t.Errorf("%q, %v", body, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("%v in the directory, %v", entries, err)
	}
	if err := Init(filepath.Join(dir, "none", "keys"), created); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestOpenRefusesWhatOthersMayUse(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "keys"), filepath.Join(dir, "link")
	if err := errors.Join(Init(path, created), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	for mode := fs.FileMode(0); mode <= 0o777; mode++ {
		if mode&0o400 == 0 {
			continue
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{path, link} {
			if _, err := Open(name); (err == nil) != (mode&0o077 == 0) {
				t.Errorf("mode %#o, %s: %v", mode, filepath.Base(name), err)
			}
		}
	}
	for _, name := range []string{dir, "/dev/null", filepath.Join(dir, "none")} {
		if _, err := Open(name); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

// bodyOf is a good key file of the given epochs.
func bodyOf(t testing.TB, epochs int) fileBody {
	t.Helper()
	body := fileBody{Format: formatName, Version: formatVersion}
	for i := range epochs {
		e, err := newFileEpoch(fixedHandle(t, byte(i)), i+1, created)
		if err != nil {
			t.Fatal(err)
		}
		if i < epochs-1 {
			e.Status = Chained
		}
		body.Epochs = append(body.Epochs, e)
	}
	return body
}

func encode(t testing.TB, body fileBody) string {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseManyEpochs(t *testing.T) {
	for _, n := range []int{1, 2, 255} {
		k, err := parse([]byte(encode(t, bodyOf(t, n))))
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.Domain("warehouse")
		if err != nil {
			t.Fatal(err)
		}
		if token := d.Token(schemas.UserID, []byte("7")); int(k.Epoch()) != n || int(token.Epoch()) != n || len(k.Epochs()) != n {
			t.Errorf("%d epochs: epoch %d, token of %d", n, k.Epoch(), token.Epoch())
		}
	}
}

func cleartext(t testing.TB, h *keyset.Handle) json.RawMessage {
	t.Helper()
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reKeyed is a keyset whose key is any of those that Tink itself takes.
func reKeyed(h *keyset.Handle) func(*testing.T, *fileBody) {
	return func(t *testing.T, b *fileBody) { b.Epochs[0].Keyset = cleartext(t, h) }
}

// edited replaces text in the keyset.
func edited(old, new string) func(*testing.T, *fileBody) {
	return func(t *testing.T, b *fileBody) {
		text := strings.Replace(string(b.Epochs[0].Keyset), old, new, 1)
		if text == string(b.Epochs[0].Keyset) {
			t.Fatalf("%q does not stand in the keyset", old)
		}
		b.Epochs[0].Keyset = json.RawMessage(text)
	}
}

func TestParseRefuses(t *testing.T) {
	macHandle, err := keyset.NewHandle(tinkmac.HMACSHA256Tag256KeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	two := keyset.NewManagerFromHandle(fixedHandle(t, 0))
	parameters, err := hmacprf.NewParameters(32, hmacprf.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.AddNewKeyFromParameters(parameters); err != nil {
		t.Fatal(err)
	}
	twoKeys, err := two.Handle()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		spoil  func(*testing.T, *fileBody)
		reason string
	}{
		{"another format", func(_ *testing.T, b *fileBody) { b.Format = "age" }, "format is not"},
		{"a later version", func(_ *testing.T, b *fileBody) { b.Version = 2 }, "version 2"},
		{"no version", func(_ *testing.T, b *fileBody) { b.Version = 0 }, "version 0"},
		{"no epoch", func(_ *testing.T, b *fileBody) { b.Epochs = nil }, "0 epochs"},
		{"too many epochs", func(_ *testing.T, b *fileBody) { b.Epochs = make([]fileEpoch, 256) }, "256 epochs"},
		{"epoch 0", func(_ *testing.T, b *fileBody) { b.Epochs[0].Epoch = 0 }, "out of order"},
		{"a gap", func(_ *testing.T, b *fileBody) { b.Epochs[0].Epoch = 2 }, "out of order"},
		{"an epoch twice", func(_ *testing.T, b *fileBody) {
			b.Epochs = append(b.Epochs, b.Epochs[0])
			b.Epochs[0].Status = Chained
		}, "key of epoch 2 is missing or out of order"},
		{"no primary epoch", func(_ *testing.T, b *fileBody) { b.Epochs[0].Status = Chained }, "status"},
		{"a destroyed epoch", func(_ *testing.T, b *fileBody) { b.Epochs[0].Status = "destroyed" }, "status"},
		{"no time", func(_ *testing.T, b *fileBody) { b.Epochs[0].Created = "" }, "creation time"},
		{"another check value", func(_ *testing.T, b *fileBody) { b.Epochs[0].Check = "0000000000000000" }, "check value"},
		{"no check value", func(_ *testing.T, b *fileBody) { b.Epochs[0].Check = "" }, "check value"},
		{"another key", reKeyed(fixedHandle(t, 99)), "check value"},
		{"no keyset", func(_ *testing.T, b *fileBody) { b.Epochs[0].Keyset = json.RawMessage("{}") }, "Tink keyset"},
		{"no primary key", edited(`"primaryKeyId":`, `"primaryKeyId":1`), "Tink keyset"},
		{"a destroyed key", edited("ENABLED", "DESTROYED"), "Tink keyset"},
		{"a disabled key", edited("ENABLED", "DISABLED"), "Tink keyset"},
		{"two keys", reKeyed(twoKeys), "2 keys"},
		{"a zero key", reKeyed(handleOf(t, make([]byte, 32), hmacprf.SHA256)), "all zero"},
		{"a short key", reKeyed(handleOf(t, bytes.Repeat([]byte{1}, 31), hmacprf.SHA256)), "31 bytes"},
		{"another hash", reKeyed(handleOf(t, bytes.Repeat([]byte{1}, 32), hmacprf.SHA512)), "SHA-256"},
		{"another primitive", reKeyed(macHandle), "HmacPrfKey"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := bodyOf(t, 1)
			c.spoil(t, &body)
			_, err := parse([]byte(encode(t, body)))
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want one that says %q", err, c.reason)
			}
		})
	}
}

func TestParseRefusesOtherText(t *testing.T) {
	good := encode(t, bodyOf(t, 1))
	for name, text := range map[string]string{
		"nothing":           "",
		"no JSON":           "AGE-SECRET-KEY",
		"a list":            "[" + good + "]",
		"something behind":  good + "{}",
		"an unknown member": strings.Replace(good, `"format"`, `"note":"","format"`, 1),
		"cut off":           good[:len(good)-1],
	} {
		if _, err := parse([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// secretForms are the ways in which the key of bodyOf and fixedKeyset may show.
func secretForms() []string {
	var secret [16]byte
	for i := range secret {
		secret[i] = 8 + byte(i)
	}
	return []string{string(secret[:]), hex.EncodeToString(secret[:]), strings.Trim(fmt.Sprint(secret), "[]"),
		base64.StdEncoding.EncodeToString(secret[1:16]), base64.StdEncoding.EncodeToString(secret[0:15]), base64.StdEncoding.EncodeToString(secret[2:14])}
}

func showsSecret(text string) bool {
	for _, form := range secretForms() {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestKeysNeverShow(t *testing.T) {
	if !showsSecret(encode(t, bodyOf(t, 1))) {
		t.Fatal("this test would not see a key")
	}
	k := fixedKeyset(t, 1)
	d := domainOf(t, k, "warehouse", Options{})
	const id = "canary-7f3a91"
	d.Token(schemas.UserID, []byte(id))
	type holder struct {
		K *Keyset
		D Domain
		k Keyset
		d *Domain
	}
	for _, v := range []any{k, *k, d, *d, holder{k, *d, *k, d}, []any{k, d}, map[string]any{"k": k}} {
		var out []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			out = append(out, fmt.Sprintf(verb, v))
		}
		if text, err := json.Marshal(v); err == nil {
			out = append(out, string(text))
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "v", v)
		_ = gob.NewEncoder(&log).Encode(v)
		for _, text := range append(out, log.String()) {
			if showsSecret(text) || strings.Contains(text, id) || strings.Contains(text, hex.EncodeToString([]byte(id))) || strings.Contains(text, strings.Trim(fmt.Sprint([]byte(id)), "[]")) {
				t.Errorf("%T shows its keys or values", v)
			}
		}
	}
	for _, v := range []any{k, *k, d, *d} {
		if got := fmt.Sprintf("%#v", v); got != placeholder {
			t.Errorf("%T prints as %s", v, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(encode(f, bodyOf(f, 1))))
	f.Add([]byte(encode(f, bodyOf(f, 2))))
	f.Fuzz(func(t *testing.T, body []byte) {
		k, err := parse(bytes.Clone(body))
		if err != nil {
			if showsSecret(err.Error()) {
				t.Fatal("the error shows a key")
			}
			return
		}
		d, err := k.Domain("warehouse")
		if err != nil {
			t.Fatal(err)
		}
		if token := d.Token(schemas.UserID, []byte("7")); token.Epoch() != k.Epoch() {
			t.Fatal("token of another epoch")
		}
	})
}
