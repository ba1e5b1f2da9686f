package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

// pause is the first process of a pod's sandbox: it keeps the pod's namespaces and waits for the end of
// processes that lost their parent, where pods share a process namespace.
func pause(_ []string, _ io.Reader, _, _ io.Writer) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	for s := range signals {
		if s != syscall.SIGCHLD {
			break
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
	return 0
}
