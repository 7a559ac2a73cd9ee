package main

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// printTable writes rows under a header in columns two spaces apart. Columns
// whose header begins with '>' are aligned to the right.
func printTable(w io.Writer, header []string, rows [][]string) error {
	widths := make([]int, len(header))
	right := make([]bool, len(header))
	names := make([]string, len(header))
	for i, h := range header {
		names[i], right[i] = strings.CutPrefix(h, ">")
	}
	for _, row := range append([][]string{names}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	out := bufio.NewWriter(w)
	for _, row := range append([][]string{names}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		// A write error stays with the writer until Flush.
		_, _ = out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.Flush()
}
