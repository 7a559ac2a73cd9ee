package files

import (
	"strings"
	"testing"

	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
)

func TestSourceConformance(t *testing.T) {
	for name, pack := range map[string]func(testing.TB, []byte) []byte{
		"plain": func(_ testing.TB, p []byte) []byte { return p }, "gzip": gz, "zstd": zst,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pipelinetest.RunSourceSuite(t, func(t *testing.T, messages []string) (func() pipeline.Source, pipeline.Partition) {
				path := write(t, dir, "x.jsonl", pack(t, []byte(strings.Join(messages, "\n")+"\n")))
				return func() pipeline.Source {
					set, err := NewSet(Options{Paths: []string{path}})
					if err != nil {
						t.Fatal(err)
					}
					return set.Source()
				}, pipeline.Partition{Topic: path}
			})
		})
	}
}
