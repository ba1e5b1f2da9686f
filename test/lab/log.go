package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LogPath returns the file that the process writes its output to.
func (c *Cluster) LogPath(name string) string {
	return filepath.Join(c.lab.dir(), "logs", c.Name, name+".log")
}

func (c *Cluster) openLog(name string) (*os.File, error) {
	path := c.LogPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// tail returns the end of the process' log, with the path in its first line.
func (c *Cluster) tail(name string) string {
	raw, err := os.ReadFile(c.LogPath(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimRight(raw, "\n")), "\n")
	lines = lines[max(0, len(lines)-logTail):]
	for i, line := range lines {
		if len(line) > maxLogLine {
			lines[i] = line[:maxLogLine] + " …"
		}
	}
	return fmt.Sprintf("the end of %s:\n  %s", c.LogPath(name), strings.Join(lines, "\n  "))
}

// withHint adds to the end of a log what it does not say: the limit that a few labs reach is not that of open files.
func withHint(tail string) string {
	const limit = "/proc/sys/fs/inotify/max_user_instances"
	if !strings.Contains(tail, "too many open files") {
		return tail
	}
	allowed, err := os.ReadFile(limit)
	if err != nil {
		return tail
	}
	return fmt.Sprintf("%s\n(this machine allows each user %s inotify instances, of which a lab takes some 30: take another "+
		"lab down, or raise %s)", tail, strings.TrimSpace(string(allowed)), limit)
}
