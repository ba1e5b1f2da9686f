package convert

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// emptyLinesAtEnd are what a last field leaves that is moved.
var emptyLinesAtEnd = regexp.MustCompile(`(?m)(^[ \t]*\r?\n)+\z`)

// lines are those of a document, with their ends.
type lines struct {
	all   []string
	first int
	root  *yaml.Node
}

// cutText returns the text of a document with edits; false if a template is not written as fields below each other.
func cutText(d *manifest.Document, edits []edit) (string, bool) {
	l := &lines{all: slices.Collect(strings.Lines(d.Text)), first: d.FirstLine, root: d.Root}
	if last := len(l.all) - 1; !strings.HasSuffix(l.all[last], "\n") {
		l.all[last] += "\n"
	}
	type cut struct {
		from, to int
		text     string
	}
	var cuts []cut
	for _, e := range edits {
		b, ok := l.block(e.template.Node)
		if !ok {
			return "", false
		}
		if len(e.pieces) == 0 {
			from, to := b.item()
			cuts = append(cuts, cut{from, to, ""})
			continue
		}
		text, ok := b.text(e.pieces, 0)
		if !ok {
			return "", false
		}
		text = emptyLinesAtEnd.ReplaceAllString(text, "")
		// The first line begins with the dash of the list.
		cuts = append(cuts, cut{b.starts[0], b.end, b.lead + strings.TrimPrefix(text, spaces(b.column))})
	}
	slices.SortFunc(cuts, func(a, b cut) int { return b.from - a.from })
	text := l.all
	for _, c := range cuts {
		text = slices.Replace(slices.Clone(text), c.from, c.to, c.text)
	}
	return strings.Join(text, ""), true
}

// block is a mapping that is written as fields below each other.
type block struct {
	*lines
	node *yaml.Node
	// lead is what stands before the first field in its line, and column how many characters stand before each one.
	lead   string
	column int
	// starts are the indexes of the lines that the fields begin with, their comments included, and end is the one after all.
	starts []int
	end    int
}

// block returns how a mapping is written, false if it is not as fields below each other.
func (l *lines) block(node *yaml.Node) (*block, bool) {
	if node.Kind != yaml.MappingNode || node.Style&yaml.FlowStyle != 0 || node.Anchor != "" || len(node.Content) == 0 {
		return nil, false
	}
	b := &block{lines: l, node: node, column: node.Content[0].Column - 1}
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		start := key.Line - l.first
		if start >= len(l.all) || key.Column-1 != b.column || len(l.all[start]) < b.column {
			return nil, false
		}
		for i > 0 && isComment(l.all[start-1]) && indent(l.all[start-1]) == b.column && start-1 > b.starts[len(b.starts)-1] {
			start--
		}
		if i > 0 && start <= b.starts[len(b.starts)-1] {
			return nil, false
		}
		b.starts = append(b.starts, start)
	}
	b.lead = l.all[b.starts[0]][:b.column]
	b.end = l.endOf(node, b.column)
	return b, true
}

// item returns the lines that leave with an element of a list: also its comments above and the empty lines below.
func (b *block) item() (from, to int) {
	from, to = b.starts[0], b.end
	for from > 0 && isComment(b.all[from-1]) && indent(b.all[from-1]) == indent(b.all[b.starts[0]]) {
		from--
	}
	for to < len(b.all) && strings.TrimSpace(b.all[to]) == "" {
		to++
	}
	return from, to
}

// endOf returns the index of the line after a mapping: comments that are further left, and empty lines, are what follows.
func (l *lines) endOf(node *yaml.Node, column int) int {
	within := map[*yaml.Node]bool{}
	walk(node, func(n *yaml.Node) { within[n] = true })
	end := len(l.all)
	walk(l.root, func(n *yaml.Node) {
		if at := n.Line - l.first; !within[n] && at > node.Line-l.first {
			end = min(end, at)
		}
	})
	for end > 0 && (strings.TrimSpace(l.all[end-1]) == "" || isComment(l.all[end-1]) && indent(l.all[end-1]) < column) {
		end--
	}
	return end
}

func walk(n *yaml.Node, visit func(*yaml.Node)) {
	visit(n)
	for _, child := range n.Content {
		walk(child, visit)
	}
}

// text returns pieces as they are written, further right by some columns.
func (b *block) text(pieces []piece, further int) (string, bool) {
	var text strings.Builder
	for _, p := range pieces {
		switch {
		case p.below != nil:
			below, ok := b.text(p.below, further+2)
			if !ok {
				return "", false
			}
			text.WriteString(b.shift(p.key.Value+":\n", b.column+further) + below)
		case p.pair < 0:
			encoded, err := encode(mapping(p.key, p.value))
			if err != nil {
				return "", false
			}
			text.WriteString(b.shift(encoded, b.column+further))
		default:
			text.WriteString(b.shift(b.chunk(p.pair/2), further))
		}
	}
	return text.String(), true
}

// chunk returns the lines of a field, the first one with nothing but spaces before it.
func (b *block) chunk(i int) string {
	end := b.end
	if i+1 < len(b.starts) {
		end = b.starts[i+1]
	}
	text := strings.Join(b.all[b.starts[i]:end], "")
	if i == 0 {
		text = spaces(b.column) + text[b.column:]
	}
	return text
}

// shift moves lines to the right, and gives them the ends that the document's lines have.
func (b *block) shift(text string, columns int) string {
	if columns == 0 {
		return text
	}
	var shifted strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			shifted.WriteString(spaces(columns))
		}
		if strings.HasSuffix(b.all[0], "\r\n") && !strings.HasSuffix(line, "\r\n") {
			line = strings.TrimSuffix(line, "\n") + "\r\n"
		}
		shifted.WriteString(line)
	}
	return shifted.String()
}

func isComment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func spaces(n int) string { return strings.Repeat(" ", n) }
