package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// lineWidth is the longest line within the balloon; a longer word gets a line of its own.
const lineWidth = 40

const whale = `    \
     \
      \          . ' .
         ______   ':'   __   __
      .-'      '-.  |   \ '-' /
     /  o         '-'____)   (
    |   __                '-'
     \___________________/
`

// cowsay says its arguments, or its input if there are none, as a whale.
func cowsay(args []string, in io.Reader, out, errs io.Writer) int {
	text := strings.Join(args, " ")
	if len(args) == 0 {
		b, err := io.ReadAll(in)
		if err != nil {
			fmt.Fprintln(errs, "cowsay:", err)
			return 1
		}
		text = string(b)
	}
	fmt.Fprint(out, balloon(text)+whale)
	return 0
}

// balloon draws a balloon around the text.
func balloon(text string) string {
	lines := wrap(text)
	width := 0
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(line))
	}
	var b strings.Builder
	b.WriteString(" " + strings.Repeat("_", width+2) + "\n")
	for i, line := range lines {
		left, right := "|", "|"
		switch {
		case len(lines) == 1:
			left, right = "<", ">"
		case i == 0:
			left, right = "/", "\\"
		case i == len(lines)-1:
			left, right = "\\", "/"
		}
		fill := strings.Repeat(" ", width-utf8.RuneCountInString(line))
		b.WriteString(left + " " + line + fill + " " + right + "\n")
	}
	b.WriteString(" " + strings.Repeat("-", width+2) + "\n")
	return b.String()
}

// wrap breaks the text into lines, at least one.
func wrap(text string) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= lineWidth:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
