package convert

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// edit gives a template new fields, or removes it from its manifest if it has none.
type edit struct {
	template *manifest.Template
	pieces   []piece
}

// piece is a field of a converted template: a field that was there, as it is written, or a new one, or one with pieces below.
type piece struct {
	// pair is the index of the key in the template's content, -1 if it is new.
	pair       int
	key, value *yaml.Node
	below      []piece
}

func keep(pair int) piece { return piece{pair: pair} }

func made(key string, value *yaml.Node) piece { return piece{pair: -1, key: scalar(key), value: value} }

// scalar returns a text, in quotes where some reader of YAML would take it for something else.
func scalar(value string) *yaml.Node {
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil {
		n.SetString(value)
	}
	return n
}

// mapping returns a mapping of keys and values that follow each other.
func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: content}
}

// apply returns the text of a document with edits. It cuts the text, so that all else stays as users wrote it. What that makes must say the
// same as the edited nodes; where the text is not of the usual form, it does not, and the nodes are written anew.
func apply(d *manifest.Document, edits []edit) (string, error) {
	text, cut := cutText(d, edits)
	for _, e := range edits {
		e.apply()
	}
	if cut {
		if root, err := manifest.Parse(text); err == nil && equal(root, d.Root) {
			return text, nil
		}
	}
	text, err := encode(d.Root)
	if err != nil {
		return "", err
	}
	if root, err := manifest.Parse(text); err != nil || !equal(root, d.Root) {
		return "", errors.New("it cannot be written again as it is: write out its YAML aliases")
	}
	if strings.HasPrefix(d.Text, "---") {
		text = "---\n" + text
	}
	return text, nil
}

// apply changes the nodes.
func (e edit) apply() {
	node := e.template.Node
	if len(e.pieces) > 0 {
		node.Content = content(node, e.pieces)
		return
	}
	list := manifest.Get(e.template.Workflow.Spec, "templates")
	list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool { return n == node })
}

// content returns what is to be in the template's node.
func content(template *yaml.Node, pieces []piece) []*yaml.Node {
	var all []*yaml.Node
	for _, p := range pieces {
		if p.below == nil && p.pair >= 0 {
			all = append(all, template.Content[p.pair], template.Content[p.pair+1])
			continue
		}
		value := p.value
		if p.below != nil {
			value = mapping(content(template, p.below)...)
		}
		if template.Content[0].Style == yaml.DoubleQuotedStyle { // so that JSON stays JSON
			for _, n := range []*yaml.Node{p.key, value} {
				walk(n, func(n *yaml.Node) { n.Style |= quoted(n) })
			}
		}
		all = append(all, p.key, value)
	}
	return all
}

// quoted returns the style of JSON for a node.
func quoted(n *yaml.Node) yaml.Style {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		return yaml.DoubleQuotedStyle
	}
	return 0
}

// equal reports whether two nodes say the same.
func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) || a.ShortTag() != b.ShortTag() {
		return false
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
