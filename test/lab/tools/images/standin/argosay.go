package main

import (
	"bytes"
	"fmt"
	"io"
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

func say(verb string, args []string, in io.Reader, out, errs io.Writer) (code int, err error) {
	switch {
	case verb == "echo" && len(args) <= 2:
		return 0, echo(args, out)
	case verb == "cat" && len(args) > 0:
		return 0, cat(args, out)
	case verb == "assert_contains" && len(args) == 2:
		return 0, assertContains(args[0], args[1])
	case verb == "sleep" && len(args) == 1:
		return 0, sleep(args[0])
	case verb == "exit" && len(args) == 0:
		return 0, nil
	case verb == "exit" && len(args) == 1:
		return strconv.Atoi(args[0])
	case verb == "sh" && len(args) > 0:
		return shell(args, in, out, errs)
	}
	return 0, fmt.Errorf("%s with %d arguments is nothing it can do", verb, len(args))
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

func assertContains(file, text string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Contains(content, []byte(text)) {
		return fmt.Errorf("%s does not contain %q", file, text)
	}
	return nil
}

// sleep takes seconds, as the shell does, and Go's durations.
func sleep(text string) error {
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
