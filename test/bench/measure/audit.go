// Package measure reads what a run of the benchmark costs and how long it takes: requests from the audit log, counters from
// metrics, and moments in the lives of Workflows from watches.
package measure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Request is a kind of request to the hub's API server.
type Request struct {
	// Who sent it: a part of the product or of OCM, or whatever user agent a part of the benchmark has.
	Who string
	// UserAgent is the program that says to have sent it, without its version.
	UserAgent      string
	Verb, Resource string
}

// Count is how often a request was sent, and how often it was answered with an error: those are in Total as well.
type Count struct{ Total, Failed int }

// Counts are requests by kind.
type Counts map[Request]Count

// Add adds more requests.
func (c Counts) Add(more Counts) {
	for request, count := range more {
		c[request] = Count{c[request].Total + count.Total, c[request].Failed + count.Failed}
	}
}

// Sum adds up those that match.
func (c Counts) Sum(match func(Request) bool) Count {
	var sum Count
	for request, count := range c {
		if match(request) {
			sum.Total += count.Total
			sum.Failed += count.Failed
		}
	}
	return sum
}

// Sorted lists the kinds of requests by who sent them, resource and verb.
func (c Counts) Sorted() []Request {
	return slices.SortedFunc(maps.Keys(c), func(a, b Request) int {
		return strings.Compare(a.Who+"\x00"+a.Resource+"\x00"+a.Verb+"\x00"+a.UserAgent, b.Who+"\x00"+b.Resource+"\x00"+b.Verb+"\x00"+b.UserAgent)
	})
}

var writeVerbs = []string{"create", "update", "patch", "delete", "deletecollection"}

// unstored are what API servers are asked or told and do not keep, and the Leases by which everybody says to be alive.
var unstored = []string{
	"leases", "subjectaccessreviews", "selfsubjectaccessreviews", "localsubjectaccessreviews", "tokenreviews", "serviceaccounts/token",
	"events", // counted apart, by the API server's own metrics
}

// IsWrite reports whether the request changes what is stored, Leases and Events apart.
func (r Request) IsWrite() bool {
	return slices.Contains(writeVerbs, r.Verb) && !slices.Contains(unstored, r.Resource)
}

// IsRead reports whether the request reads objects, once: a watch does not count.
func (r Request) IsRead() bool {
	return (r.Verb == "get" || r.Verb == "list") && r.Resource != "" && !slices.Contains(unstored, r.Resource)
}

// Audit counts the requests in an API server's audit log, of which it has read up to a certain place.
type Audit struct {
	path string
	file *os.File
	// rest is the beginning of a line whose end is not written yet.
	rest []byte
}

// OpenAudit returns the audit log of that path, read up to its present end.
func OpenAudit(path string) (*Audit, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Audit{path: path, file: file}, nil
}

// Read returns the requests since the last Read. It follows the log into the file that the API server begins when one is full.
func (a *Audit) Read() (Counts, error) {
	counts := Counts{}
	for {
		next, err := a.next()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(a.file)
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		text = append(a.rest, text...)
		end := bytes.LastIndexByte(text, '\n') + 1
		a.rest = bytes.Clone(text[end:])
		for line := range bytes.Lines(text[:end]) {
			request, failed, err := parse(line)
			if err != nil {
				return nil, err
			}
			counts.Add(Counts{request: {1, failed}})
		}
		if next == "" {
			return counts, nil
		}
		if err := a.follow(next); err != nil {
			return nil, err
		}
	}
}

// next returns the file that follows the one that is being read, "" if that is the last. It is asked before the file is read, so
// that what is in it by then is all of it.
func (a *Audit) next() (string, error) {
	extension := filepath.Ext(a.path)
	paths, err := filepath.Glob(strings.TrimSuffix(a.path, extension) + "-*" + extension) // a time follows, so they are in order
	if err != nil {
		return "", err
	}
	paths = append(paths, a.path)
	own, err := a.file.Stat()
	if err != nil {
		return "", err
	}
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil && os.SameFile(own, info) && i+1 < len(paths) {
			return paths[i+1], nil
		}
	}
	return "", nil
}

func (a *Audit) follow(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	err = a.file.Close()
	a.file, a.rest = file, nil
	return err
}

// Close ends the reading.
func (a *Audit) Close() error { return a.file.Close() }

func parse(line []byte) (request Request, failed int, err error) {
	var entry struct {
		Verb, UserAgent string
		User            struct{ Username string }
		ObjectRef       struct{ Resource, Subresource string }
		ResponseStatus  struct{ Code int }
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		return Request{}, 0, fmt.Errorf("read the audit log: %w", err)
	}
	request = Request{UserAgent: program(entry.UserAgent), Verb: entry.Verb, Resource: entry.ObjectRef.Resource}
	request.Who = who(entry.User.Username, request.UserAgent)
	if entry.ObjectRef.Subresource != "" {
		request.Resource += "/" + entry.ObjectRef.Subresource
	}
	if entry.ResponseStatus.Code >= 400 {
		failed = 1
	}
	return request, failed, nil
}

// program returns what a user agent names before its version.
func program(userAgent string) string {
	name, _, _ := strings.Cut(userAgent, "/")
	return name
}

// who names the sender of a request as a reader of the figures would.
func who(user, program string) string {
	switch {
	case strings.HasPrefix(program, "bench-"), strings.HasPrefix(program, "hollow-"):
		return program
	case strings.HasPrefix(user, "system:serviceaccount:argo-workflow-multicluster:"):
		return "manager"
	case strings.Contains(user, ":addon:argo-workflow-multicluster"):
		return "agent"
	case strings.HasPrefix(user, "system:open-cluster-management:"):
		return "OCM agent"
	case strings.HasPrefix(user, "ocm-"):
		return "OCM hub"
	case strings.Contains(user, "controller-manager"), strings.HasPrefix(user, "system:serviceaccount:kube-system:"):
		return "controller manager"
	}
	return user
}
