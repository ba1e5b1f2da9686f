package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCowsay(t *testing.T) {
	cases := map[string]struct {
		args []string
		in   string
		want []string
	}{
		"says its arguments as one line":          {[]string{"hello", "world"}, "", []string{"< hello world >"}},
		"says its input if it has no argument":    {nil, "from\nstdin\n", []string{"< from stdin >"}},
		"says nothing in a balloon of its own":    {nil, "", []string{"<  >"}},
		"breaks a long text between words":        {[]string{strings.Repeat("word ", 20)}, "", []string{"/ word", "| word", "\\ word"}},
		"leaves a word that is too long unbroken": {[]string{strings.Repeat("x", 50)}, "", []string{"< " + strings.Repeat("x", 50) + " >"}},
		"counts characters and not bytes":         {[]string{"größer"}, "", []string{" ________\n< größer >\n --------\n"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			require.Zero(t, cowsay(c.args, strings.NewReader(c.in), &out, &errs))
			for _, want := range c.want {
				require.Contains(t, out.String(), want)
			}
			require.Empty(t, errs.String())
		})
	}
}

func TestArgosay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "file")
	cases := []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"greets without arguments", nil, 0, "hello argo\n"},
		{"greets without a text", []string{"echo"}, 0, "hello argo\n"},
		{"says a text", []string{"echo", "hello"}, 0, "hello\n"},
		{"writes a text to a file in a new folder", []string{"echo", "kept", file}, 0, ""},
		{"says what is in files", []string{"cat", file, file}, 0, "kept\nkept\n"},
		{"finds a text in a file", []string{"assert_contains", file, "ept"}, 0, ""},
		{"fails where a file lacks a text", []string{"assert_contains", file, "lost"}, 1, ""},
		{"fails for a file that is not there", []string{"cat", file + "2"}, 1, ""},
		{"sleeps", []string{"sleep", "1ms"}, 0, ""},
		{"sleeps for seconds", []string{"sleep", "0"}, 0, ""},
		{"ends", []string{"exit"}, 0, ""},
		{"ends with a code", []string{"exit", "7"}, 7, ""},
		{"ends with a script's code", []string{"sh", "-c", "echo run; exit 3"}, 3, "run\n"},
		{"refuses what it cannot do", []string{"dance"}, 1, ""},
		{"refuses arguments that it would ignore", []string{"sleep", "1", "2"}, 1, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := argosay(c.args, strings.NewReader(""), &out, &errs)
			require.Equal(t, c.code, code, errs.String())
			require.Equal(t, c.out, out.String())
		})
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "kept\n", string(content))
}
