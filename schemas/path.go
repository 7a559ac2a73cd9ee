package schemas

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// String writes the path with dots between its steps, and quotes around a step
// that has other characters than letters, digits, _, -, $ and @.
func (p Path) String() string {
	var b strings.Builder
	for i, step := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		if bare := strings.IndexFunc(step, func(r rune) bool { return !bareInPath(r) }) < 0; bare && step != "" {
			b.WriteString(step)
			continue
		}
		b.WriteByte('"')
		b.WriteString(stepEscapes.Replace(step))
		b.WriteByte('"')
	}
	return b.String()
}

var stepEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// ParsePath is the inverse of String.
func ParsePath(text string) (Path, error) {
	paths, err := parsePaths(text)
	if err != nil {
		return nil, err
	}
	if len(paths) > 1 {
		return nil, errors.New("only one path is allowed here, found a |")
	}
	return paths[0], nil
}

// parsePaths reads alternatives with | between them.
func parsePaths(text string) ([]Path, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("the path is not UTF-8")
	}
	var paths []Path
	rest := text
	for {
		var path Path
		var err error
		if path, rest, err = cutPath(rest); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(paths, func(p Path) bool { return slices.Equal(p, path) }) {
			return nil, fmt.Errorf("the path %s is listed twice", path)
		}
		paths = append(paths, path)
		if rest == "" {
			return paths, nil
		}
		rest = rest[1:] // the |
	}
}

// cutPath reads one path and gives what follows it: nothing, or a | and more.
func cutPath(text string) (path Path, rest string, err error) {
	rest = strings.TrimLeft(text, " ")
	for {
		var step string
		if step, rest, err = cutStep(rest); err != nil {
			return nil, "", err
		}
		path = append(path, step)
		if strings.HasPrefix(rest, ".") {
			rest = rest[1:]
			continue
		}
		rest = strings.TrimLeft(rest, " ")
		if rest == "" || rest[0] == '|' {
			return path, rest, nil
		}
		r, _ := utf8.DecodeRuneInString(rest)
		return nil, "", badPathCharacter(r)
	}
}

func cutStep(text string) (step, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		return cutQuotedStep(text[1:])
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !bareInPath(r) })
	if end < 0 {
		end = len(text)
	}
	if end > 0 {
		return text[:end], text[end:], nil
	}
	if text == "" || strings.ContainsRune(".| ", rune(text[0])) {
		return "", "", errors.New("the path has an empty step")
	}
	r, _ := utf8.DecodeRuneInString(text)
	return "", "", badPathCharacter(r)
}

func cutQuotedStep(text string) (step, rest string, err error) {
	var b strings.Builder
	escaped := false
	for i, r := range text {
		switch {
		case unicode.IsControl(r):
			return "", "", errors.New("the path has a control character")
		case escaped && r != '"' && r != '\\':
			return "", "", errors.New(`in a quoted step only \" and \\ are escapes`)
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '"' && b.Len() == 0:
			return "", "", errors.New("the path has an empty step")
		case r == '"':
			return b.String(), text[i+1:], nil
		default:
			b.WriteRune(r)
		}
	}
	return "", "", errors.New("a quoted step has no closing quote")
}

func bareInPath(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-$@", r)
}

func badPathCharacter(r rune) error {
	return fmt.Errorf("the character %q is not allowed in a path; steps have letters, digits, _, -, $ and @, others go in double quotes", r)
}
