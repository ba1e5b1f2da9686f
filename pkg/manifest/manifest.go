// Package manifest reads the manifests of Argo Workflows as texts that users edit: each template with the line and column that it is at.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is something that is wrong in a file, or, as a warning, may be.
type Problem struct {
	File         string
	Line, Column int
	// Template is the name of the template that it is in, "" if it is in none.
	Template string
	Message  string
	Warning  bool
}

// String returns the problem in the form that editors and terminals make a link of.
func (p Problem) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Warning {
		s.WriteString("warning: ")
	}
	if p.Template != "" {
		fmt.Fprintf(&s, "template %q: ", p.Template)
	}
	s.WriteString(p.Message)
	return s.String()
}

// Document is one document of a file.
type Document struct {
	File string
	// Text is the document with the marker that begins it, if there is one; all Texts of a file, one after the other, are the file.
	Text string
	// FirstLine is the line of the file that Text begins with, from 1.
	FirstLine int
	// Root is the document, with lines of the file; nil if it is empty.
	Root *yaml.Node
	// Workflows are the manifests in it that have templates: one, or those of a List.
	Workflows []*Workflow
}

// Workflow is a manifest with templates, of one of Argo's kinds.
type Workflow struct {
	Document *Document
	Kind     string
	// Name is its name or, if it has none, what its name is to begin with.
	Name, Namespace string
	// Node is the manifest, and Spec its spec or, of a CronWorkflow, that of the Workflows it makes.
	Node, Spec *yaml.Node
	// Templates are all of its templates, and after each one those that are inline in its steps or tasks.
	Templates []*Template
	// Defaults are the templateDefaults, nil if there are none.
	Defaults *Template
}

// Template is one template of a manifest.
type Template struct {
	Workflow *Workflow
	// Name is its own or, if it is inline, that of its step or task.
	Name string
	Node *yaml.Node
	// Outer is the template that it is inline in, nil if it is one of spec.templates.
	Outer *Template
}

// Problem returns a problem of the template at a node.
func (t *Template) Problem(at *yaml.Node, message string, args ...any) Problem {
	return Problem{File: t.Workflow.Document.File, Line: at.Line, Column: at.Column, Template: t.Name, Message: fmt.Sprintf(message, args...)}
}

// Problem returns a problem of the manifest at a node.
func (wf *Workflow) Problem(at *yaml.Node, message string, args ...any) Problem {
	return Problem{File: wf.Document.File, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(message, args...)}
}

// Template returns the template of a name among spec.templates, nil if there is none.
func (wf *Workflow) Template(name string) *Template {
	for _, t := range wf.Templates {
		if t.Name == name && t.Outer == nil {
			return t
		}
	}
	return nil
}

// Read returns the documents of a file, and what is wrong with it as YAML.
func Read(file string, text []byte) ([]*Document, []Problem) {
	var documents []*Document
	var problems []Problem
	line := 1
	for _, part := range split(string(text)) {
		d := &Document{File: file, Text: part, FirstLine: line}
		line += strings.Count(part, "\n")
		if problem := d.parse(); problem != nil {
			problems = append(problems, *problem)
			continue
		}
		d.find()
		documents = append(documents, d)
		problems = append(problems, d.repeated(d.Root)...)
	}
	return documents, problems
}

// Parse reads a document again that was changed: text has one document.
func Parse(text string) (*yaml.Node, error) {
	d := &Document{Text: text, FirstLine: 1}
	if problem := d.parse(); problem != nil {
		return nil, errors.New(problem.Message)
	}
	return d.Root, nil
}

// split cuts a file before each marker of a document. There, no text of a document can have three dashes at the begin of a line.
func split(text string) []string {
	var parts []string
	start, at := 0, 0
	for line := range strings.Lines(text) {
		if isMarker(line) && strings.TrimSpace(text[start:at]) != "" {
			parts = append(parts, text[start:at])
			start = at
		}
		at += len(line)
	}
	return append(parts, text[start:])
}

func isMarker(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n"))
}

var lineOfError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (d *Document) parse() *Problem {
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(d.Text)))
	root := &yaml.Node{}
	err := decoder.Decode(root)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && containsItself(root, map[*yaml.Node]bool{}) {
		err = errors.New("yaml: an alias is part of what it stands for")
	}
	if err == nil {
		d.Root = root
		shift(root, d.FirstLine-1)
		// What follows must be nothing: where the next document begins, this text was cut.
		if err = decoder.Decode(&yaml.Node{}); err == nil || errors.Is(err, io.EOF) {
			return nil
		}
	}
	line := d.FirstLine
	message := err.Error()
	if found := lineOfError.FindStringSubmatch(message); found != nil {
		message = strings.TrimPrefix(message, found[0])
		if n, err := strconv.Atoi(found[1]); err == nil {
			line += n - 1
		}
	}
	return &Problem{File: d.File, Line: line, Column: 1, Message: "this is no valid YAML: " + message}
}

// containsItself reports whether an alias at or below a node leads back to what it is in. Visited has the nodes that were looked at, and
// whether they are still being looked at.
func containsItself(n *yaml.Node, visited map[*yaml.Node]bool) bool {
	if active, ok := visited[n]; ok {
		return active
	}
	visited[n] = true
	defer func() { visited[n] = false }()
	if n.Kind == yaml.AliasNode {
		return containsItself(n.Alias, visited)
	}
	return slices.ContainsFunc(n.Content, func(child *yaml.Node) bool { return containsItself(child, visited) })
}

// shift adds to the lines of a node and of all below it.
func shift(n *yaml.Node, lines int) {
	n.Line += lines
	for _, child := range n.Content {
		shift(child, lines)
	}
}

// repeated returns a problem for each key that is in a mapping twice.
func (d *Document) repeated(n *yaml.Node) []Problem {
	if n == nil {
		return nil
	}
	var problems []Problem
	seen := map[string]bool{}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if seen[child.Value] {
				problems = append(problems, Problem{File: d.File, Line: child.Line, Column: child.Column,
					Message: fmt.Sprintf("key %q is there twice", child.Value)})
			}
			seen[child.Value] = true
		}
		problems = append(problems, d.repeated(child)...)
	}
	return problems
}
