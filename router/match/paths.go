package match

import "github.com/eventrouter/eventrouter/rules"

// paths are all paths into the document that some rule asks for, as a tree of names: what is not in it is passed over.
// A node is an index; the first is the document itself.
type paths struct{ nodes []pathNode }

// pathNode is one path. Names are compared one by one where there are few, and looked up where there are many.
type pathNode struct {
	names   []string
	inside  []int32 // by names
	byName  map[string]int32
	leaf    bool // some condition asks for the values here
	numbers bool // some condition compares numbers here
}

// manyNames is from where on looking up is faster than comparing.
const manyNames = 8

const (
	documentNode = 0
	noNode       = -1
)

func newPaths() *paths { return &paths{nodes: make([]pathNode, 1)} }

// add finds the node of a path, which it makes where it is not there.
func (p *paths) add(path []string) int32 {
	at := int32(documentNode)
	for _, name := range path {
		next := p.nodes[at].child(name)
		if next == noNode {
			next = int32(len(p.nodes))
			p.nodes = append(p.nodes, pathNode{})
			p.nodes[at].grow(name, next)
		}
		at = next
	}
	return at
}

func (n *pathNode) grow(name string, node int32) {
	n.names = append(n.names, name)
	n.inside = append(n.inside, node)
	if n.byName != nil {
		n.byName[name] = node
		return
	}
	if len(n.names) > manyNames {
		n.byName = make(map[string]int32, 2*len(n.names))
		for i, name := range n.names {
			n.byName[name] = n.inside[i]
		}
	}
}

func (n *pathNode) child(name string) int32 {
	if n.byName != nil {
		if node, ok := n.byName[name]; ok {
			return node
		}
		return noNode
	}
	for i := range n.names {
		if n.names[i] == name {
			return n.inside[i]
		}
	}
	return noNode
}

// addLeaf is add for a path at which conditions stand.
func (p *paths) addLeaf(f *rules.Field) int32 {
	at := p.add(f.Path)
	p.nodes[at].leaf = true
	p.nodes[at].numbers = p.nodes[at].numbers || compareNumbers(f.Conditions)
	return at
}

func compareNumbers(conditions []rules.Condition) bool {
	for i := range conditions {
		c := &conditions[i]
		if _, is := c.Value.(rules.Number); is || c.Op == rules.OpRange || compareNumbers(c.Inner) {
			return true
		}
	}
	return false
}
