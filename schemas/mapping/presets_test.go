package mapping

import (
	"testing"

	"lupa/schemas"
)

func TestPresetsAreRead(t *testing.T) {
	if len(Presets()) != 6 {
		t.Fatalf("%d presets", len(Presets()))
	}
	for _, name := range Presets() {
		if _, text, err := Preset(name, schemas.DefaultVocabulary()); err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Preset("../load", schemas.DefaultVocabulary()); err == nil {
		t.Error("a name that is none is taken")
	}
}
