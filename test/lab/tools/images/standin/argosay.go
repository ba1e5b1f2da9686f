package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// argosay does what the image argoproj/argosay:v2, with which Argo is tested, can be told to do:
//
//	echo [text [file]]           say the text, or write it to the file
//	cat file…                    say what is in the files
//	assert_contains file text    fail unless the text is in the file
//	sleep duration               wait: 3, 3s, 500ms
//	exit [code]                  end with the code
//	sh script                    run the shell script
func argosay(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		args = []string{"echo"}
	}
	code, err := say(args[0], args[1:], in, out, errs)
	if err != nil {
		fmt.Fprintln(errs, "argosay:", err)
		return 1
	}
	return code
}

// verb is a thing that argosay can do, with the numbers of arguments that it takes.
type verb struct {
	least, most int
	run         func(args []string, in io.Reader, out, errs io.Writer) (code int, err error)
}

var verbs = map[string]verb{
	"assert_contains": {2, 2, always(assertContains)},
	"cat":             {1, math.MaxInt, always(cat)},
	"echo":            {0, 2, always(echo)},
	"exit":            {0, 1, exit},
	"sh":              {1, math.MaxInt, shell},
	"sleep":           {1, 1, always(sleep)},
}

func say(name string, args []string, in io.Reader, out, errs io.Writer) (code int, err error) {
	v, ok := verbs[name]
	if !ok || len(args) < v.least || len(args) > v.most {
		return 0, fmt.Errorf("%s with %d arguments is nothing it can do", name, len(args))
	}
	return v.run(args, in, out, errs)
}

// always makes a verb of what has no exit code of its own.
func always(run func(args []string, out io.Writer) error) func([]string, io.Reader, io.Writer, io.Writer) (int, error) {
	return func(args []string, _ io.Reader, out, _ io.Writer) (int, error) { return 0, run(args, out) }
}

func exit(args []string, _ io.Reader, _, _ io.Writer) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	return strconv.Atoi(args[0])
}

func echo(args []string, out io.Writer) error {
	text := "hello argo"
	if len(args) > 0 {
		text = args[0]
	}
	if len(args) < 2 {
		_, err := fmt.Fprintln(out, text)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(args[1]), 0o777); err != nil {
		return err
	}
	return os.WriteFile(args[1], []byte(text+"\n"), 0o666)
}

func cat(files []string, out io.Writer) error {
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := out.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func assertContains(args []string, _ io.Writer) error {
	content, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if !bytes.Contains(content, []byte(args[1])) {
		return fmt.Errorf("%s does not contain %q", args[0], args[1])
	}
	return nil
}

// sleep takes seconds, as the shell does, and Go's durations.
func sleep(args []string, _ io.Writer) error {
	text := args[0]
	if !strings.ContainsAny(text, "hms") {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	<-time.After(d)
	return nil
}

func shell(args []string, in io.Reader, out, errs io.Writer) (int, error) {
	command := exec.Command("/bin/sh", args...)
	command.Stdin, command.Stdout, command.Stderr = in, out, errs
	err := command.Run()
	if command.ProcessState != nil && command.ProcessState.Exited() {
		return command.ProcessState.ExitCode(), nil
	}
	return 1, err
}
