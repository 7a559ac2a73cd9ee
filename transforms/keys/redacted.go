package keys

import (
	"fmt"
	"log/slog"
)

const placeholder = "[redacted keys]"

// redacted is embedded in what holds keys, so that it prints as a placeholder
// whatever it is printed with.
type redacted struct{}

// Format prints a placeholder for every verb.
func (redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// String gives a placeholder.
func (redacted) String() string { return placeholder }

// GoString gives a placeholder.
func (redacted) GoString() string { return placeholder }

// MarshalText gives encoders a placeholder.
func (redacted) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// MarshalJSON gives encoders a placeholder.
func (redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + placeholder + `"`), nil }

// LogValue gives loggers a placeholder.
func (redacted) LogValue() slog.Value { return slog.StringValue(placeholder) }
