package manifest

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Variable is a variable of Argo, or an expression, in a text.
type Variable struct {
	// Name is what is between the braces; Expression is whether it is an expression, which is without its "=" then.
	Name         string
	Expression   bool
	Line, Column int
}

var variable = regexp.MustCompile(`(?s)\{\{(=?)\s*(.*?)\s*\}\}`)

// Variables returns those in the texts at a node and below, in their order.
func (d *Document) Variables(n *yaml.Node) []Variable {
	var found []Variable
	if n.Kind == yaml.ScalarNode {
		for _, match := range variable.FindAllStringSubmatch(n.Value, -1) {
			v := Variable{Name: match[2], Expression: match[1] != ""}
			v.Line, v.Column = d.locate(n, match[0])
			found = append(found, v)
		}
	}
	for _, child := range n.Content {
		found = append(found, d.Variables(child)...)
	}
	return found
}

// locate returns where a part of a scalar is. YAML has several forms of texts, so it is looked for from the scalar's begin on.
func (d *Document) locate(n *yaml.Node, part string) (line, column int) {
	at := 0
	for text := range strings.Lines(d.Text) {
		line := d.FirstLine + at
		at++
		if line < n.Line {
			continue
		}
		from := 0
		if line == n.Line {
			from = min(n.Column-1, len(text))
		}
		if i := strings.Index(text[from:], part); i >= 0 {
			return line, from + i + 1
		}
	}
	return n.Line, n.Column
}
