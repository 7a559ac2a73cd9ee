package oracle

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/twmb/avro/ocf"
)

// dataFile is a committed data file as its manifest describes it.
type dataFile struct {
	path     string
	rows     int64
	bytes    int64
	snapshot int64 // that added it
	cut      *cut  // the ledger that its rows were decided under
	known    bool  // the cut is that of its own commit
	until    int64 // when it was committed, microseconds
	epoch    int   // of its tokens, 0 if not known
}

// deleted is the status of a file that a manifest no longer holds.
const deleted = 2

var errManifest = errors.New("a manifest lacks what it must say")

// dataFiles gives the data files of a snapshot.
func (s *snapshot) dataFiles() ([]dataFile, error) {
	list, err := readAvro(s.List)
	if err != nil {
		return nil, fmt.Errorf("manifest list: %w", err)
	}
	var files []dataFile
	for _, m := range list {
		path, ok := m["manifest_path"].(string)
		added, ok1 := whole(m["added_snapshot_id"])
		content, ok2 := whole(m["content"])
		if !ok || !ok1 || !ok2 {
			return nil, errManifest
		}
		if content != 0 {
			return nil, errors.New("it has delete files, which are not understood here")
		}
		entries, err := readAvro(path)
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		for _, e := range entries {
			f, gone, err := dataFileOf(e, added)
			if err != nil {
				return nil, err
			}
			if !gone {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// dataFileOf reads one entry of a manifest that a snapshot has added.
func dataFileOf(entry map[string]any, added int64) (f dataFile, gone bool, err error) {
	status, ok := whole(entry["status"])
	data, ok1 := entry["data_file"].(map[string]any)
	location, ok2 := data["file_path"].(string)
	rows, ok3 := whole(data["record_count"])
	size, ok4 := whole(data["file_size_in_bytes"])
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 {
		return f, false, errManifest
	}
	f = dataFile{rows: rows, bytes: size, snapshot: added}
	if id, ok := whole(entry["snapshot_id"]); ok {
		f.snapshot = id
	}
	f.path, err = localPath(location)
	return f, status == deleted, err
}

func whole(v any) (int64, bool) {
	switch n := v.(type) {
	case int32:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}

// readAvro reads all records of an Avro file.
func readAvro(location string) ([]map[string]any, error) {
	path, err := localPath(location)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decodeAvro(f)
}

func decodeAvro(r io.Reader) (list []map[string]any, err error) {
	d, err := ocf.NewReader(r)
	if err != nil {
		return nil, errors.New("is no Avro file")
	}
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return list, d.Close()
		}
		record, ok := v.(map[string]any)
		if err != nil || !ok {
			return nil, errors.New("holds a record that cannot be read")
		}
		list = append(list, record)
	}
}
