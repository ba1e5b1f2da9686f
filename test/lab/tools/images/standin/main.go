// Command standin holds the programs of a lab's stand-in images. Like BusyBox it is one file under several
// names, and does what the name by which it was called says.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// applet is a program: its arguments, without its name, to its exit code.
type applet func(args []string, in io.Reader, out, errs io.Writer) int

var applets = map[string]applet{
	"argosay": argosay,
	"cowsay":  cowsay,
	"pause":   pause,
}

func main() {
	name := filepath.Base(os.Args[0])
	run, ok := applets[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: it has to be called argosay, cowsay or pause\n", name)
		os.Exit(2)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
