package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"gopkg.in/yaml.v3"
)

// Where is a CEL expression: the language of `where`. It is compiled once, and safe for concurrent use.
//
// Its variables are the fields of the event's document. type, id, source and subject are strings, empty where the event has none; time is a
// timestamp; headers is a map; data and the extension attributes have the types that they have in the event. JSON
// numbers are ints where they are written as whole numbers of 64 bits, and doubles otherwise; the two compare with each other.
type Where struct {
	Source  string
	program cel.Program
}

// maxCost bounds one evaluation, in CEL's units, of which most operations take one.
const maxCost = 1_000_000

// errNotBool: the expression gave something that is not a boolean.
var errNotBool = errors.New("the expression is not true or false")

// Holds evaluates the expression for a document. It holds only if the result is true; what keeps it from being evaluated
// (a field that is not there, an operation on other types, too costly) is the error.
func (w *Where) Holds(doc map[string]any) (bool, error) {
	if w == nil {
		return true, nil
	}
	out, _, err := w.program.Eval(documentVars(doc))
	if err != nil {
		return false, err
	}
	holds, ok := out.Value().(bool)
	if !ok {
		return false, errNotBool
	}
	return holds, nil
}

// constant reports whether the expression gives the same for every document, and what: no variable is asked for.
func (w *Where) constant() (value, ok bool) {
	seen := &askedVars{}
	out, _, err := w.program.Eval(seen)
	if err != nil || seen.asked {
		return false, false
	}
	value, ok = out.Value().(bool)
	return value, ok
}

// askedVars notes whether any variable is asked for.
type askedVars struct{ asked bool }

// ResolveName implements cel.Activation.
func (a *askedVars) ResolveName(string) (any, bool) {
	a.asked = true
	return nil, false
}

// Parent implements cel.Activation.
func (a *askedVars) Parent() cel.Activation { return nil }

// documentVars shows a document as CEL's variables.
type documentVars map[string]any

// ResolveName implements cel.Activation.
func (d documentVars) ResolveName(name string) (any, bool) {
	v, ok := d[name]
	switch name {
	case "id", "source", "subject", "type":
		if !ok {
			return "", true
		}
	case "headers":
		if !ok {
			return map[string]any{}, true
		}
	case "time":
		s, _ := v.(string)
		t, err := time.Parse(time.RFC3339Nano, s)
		return t, ok && err == nil
	}
	return v, ok
}

// Parent implements cel.Activation.
func (d documentVars) Parent() cel.Activation { return nil }

// env is the environment with these extension attributes. To make one takes longer than to compile an expression, so they are kept.
func (w *walker) env(attributes []string) (*cel.Env, error) {
	key := strings.Join(attributes, " ")
	if w.envs[key] == nil {
		env, err := newEnv(attributes)
		if err != nil {
			return nil, err
		}
		if w.envs == nil {
			w.envs = map[string]*cel.Env{}
		}
		w.envs[key] = env
	}
	return w.envs[key], nil
}

func newEnv(attributes []string) (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(adapter{registry}),
		cel.CrossTypeNumericComparisons(true),
		cel.Variable("type", cel.StringType), cel.Variable("id", cel.StringType),
		cel.Variable("source", cel.StringType), cel.Variable("subject", cel.StringType),
		cel.Variable("time", cel.TimestampType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("data", cel.DynType),
		ext.Strings(), ext.Math(), ext.Lists(), ext.Sets(), ext.Encoders(), ext.Bindings(),
		cel.OptionalTypes(),
	}
	for _, a := range attributes {
		options = append(options, cel.Variable(a, cel.DynType))
	}
	return cel.NewEnv(options...)
}

// adapter shows encoding/json's types to CEL, without copying maps and lists.
type adapter struct{ types.Adapter }

func (a adapter) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return types.Int(i)
		}
		f, _ := strconv.ParseFloat(v.String(), 64) // out of range is an infinity
		return types.Double(f)
	}
	return a.Adapter.NativeToValue(value)
}

var undeclared = regexp.MustCompile(`undeclared reference to '([^']*)'`)

// where compiles an expression; nil if it is wrong, which has then been reported.
// A name that is no field of the document is an extension attribute, unless it looks like a slip of the pen.
func (w *walker) where(n *yaml.Node) *Where {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		w.error(n, "where is a CEL expression, not "+what(n), `write it as a string: where: "data.total > 100"`)
		return nil
	}
	var attributes []string
	for range 20 {
		env, err := w.env(attributes)
		if err != nil {
			w.errorf(n, "where: %v", err)
			return nil
		}
		ast, issues := env.Compile(n.Value)
		if issues.Err() == nil {
			return w.program(n, env, ast)
		}
		unknown := ""
		for _, e := range issues.Errors() {
			if m := undeclared.FindStringSubmatch(e.Message); m != nil && attributeName.MatchString(m[1]) && closest(m[1], documentFields) == "" && len(issues.Errors()) < 50 {
				unknown = m[1]
				break
			}
		}
		if unknown != "" && len(attributes) < 19 {
			attributes = append(attributes, unknown)
			continue
		}
		for _, e := range issues.Errors() {
			at := w.inScalar(n, e.Location.Line(), e.Location.Column())
			message, _, _ := strings.Cut(e.Message, " expecting {") // a list of all that the grammar has
			w.problems = append(w.problems, w.problem(Error, at, "where: "+message, slip(message)))
		}
		return nil
	}
	w.errorf(n, "where names more than 19 extension attributes")
	return nil
}

// slip is the hint for what people of other languages write.
func slip(message string) string {
	for _, s := range []struct{ written, hint string }{
		{"at: '= '", "== compares two values"}, {"at: '=>'", "write >="}, {"'and'", "and is written &&"}, {"'or'", "or is written ||"},
		{"'not'", "not is written !"}, {"'is'", "== compares two values"},
	} {
		if strings.Contains(message, s.written) {
			return s.hint
		}
	}
	return ""
}

func (w *walker) program(n *yaml.Node, env *cel.Env, ast *cel.Ast) *Where {
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		w.error(n, fmt.Sprintf("where is true or false, and this is of type %s", t), "")
		return nil
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		w.errorf(n, "where: %v", err)
		return nil
	}
	return &Where{Source: n.Value, program: program}
}

// CompileWhere compiles an expression given outside of a rules file.
func CompileWhere(expression string) (*Where, error) {
	w := &walker{lines: lines(expression), forms: map[string]*regexp.Regexp{}}
	out := w.where(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: expression, Line: 1, Column: 1})
	if len(w.problems) > 0 {
		return nil, w.problems
	}
	return out, nil
}
