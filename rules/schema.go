package rules

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Schema is the JSON Schema (draft 2020-12) of the rules file, made from the description that the file is checked against. It cannot say
// everything: names that have to exist, patterns that contradict themselves and CEL expressions are for `check`.
func Schema() []byte {
	root := objectSchema(fileObject)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Rules file of eventrouter"
	root["$defs"] = schema{"pattern": patternSchema(), "conditions": conditionsSchema()}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic(err) // it is made of maps, lists, strings and numbers
	}
	return b.Bytes()
}

type schema map[string]any

func objectSchema(o *object) schema {
	properties := schema{}
	required := []string{}
	for i := range o.fields {
		f := &o.fields[i]
		properties[f.name] = f.schema()
		if f.required {
			required = append(required, f.name)
		}
	}
	s := schema{"type": "object", "description": o.doc, "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	switch o {
	case stepObject:
		s["minProperties"], s["maxProperties"] = 1, 1
	case testObject:
		s["oneOf"] = []any{schema{"required": []string{"event"}}, schema{"required": []string{"events"}}}
	}
	return s
}

// durationForm is the form that time.ParseDuration takes, without a sign.
const durationForm = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`

func (f *field) schema() schema {
	s := f.valueSchema()
	s["description"] = f.doc
	if f.def != "" {
		s["default"] = f.defaultValue()
	}
	return s
}

func (f *field) valueSchema() schema {
	text := func() schema { return schema{"type": "string"} }
	list := func(items schema) schema { return schema{"type": "array", "items": items} }
	switch f.kind {
	case kindString, kindText:
		s := text()
		if f.form != "" {
			s["pattern"] = f.form
		}
		if len(f.enum) > 0 {
			s["enum"] = f.enum
		}
		return s
	case kindInteger:
		s := schema{"type": "integer", "minimum": f.min}
		if f.max > 0 {
			s["maximum"] = f.max
		}
		return s
	case kindDuration:
		return schema{"type": "string", "pattern": durationForm}
	case kindBool:
		return schema{"type": "boolean"}
	case kindStrings:
		s := list(text())
		s["uniqueItems"] = true
		return s
	case kindTexts:
		return list(text())
	case kindDurations:
		return list(schema{"type": "string", "pattern": durationForm})
	case kindTextMap:
		return schema{"type": "object", "additionalProperties": text()}
	case kindObject:
		return objectSchema(f.object)
	case kindObjects:
		return list(objectSchema(f.object))
	case kindObjectMap:
		return schema{"type": "object", "propertyNames": schema{"pattern": f.form}, "additionalProperties": objectSchema(f.object)}
	case kindPattern:
		return schema{"$ref": "#/$defs/pattern"}
	case kindReasons:
		return schema{"type": "object", "additionalProperties": schema{"type": []string{"string", "null"}}}
	}
	return schema{"type": "object", "required": []string{"type"}, "properties": schema{"type": text()}} // kindDocument
}

// defaultValue is the default as JSON has it.
func (f *field) defaultValue() any {
	switch f.kind {
	case kindBool:
		return f.def == "true"
	case kindInteger:
		n, _ := strconv.Atoi(f.def)
		return n
	case kindDurations:
		var list []string
		for item := range bytes.SplitSeq(bytes.Trim([]byte(f.def), "[]"), []byte(", ")) {
			list = append(list, string(item))
		}
		return list
	}
	return f.def
}

// patternSchema describes a content pattern: fields with patterns or conditions, and $or, $and and $not.
func patternSchema() schema {
	pattern := schema{"$ref": "#/$defs/pattern"}
	patterns := schema{"type": "array", "minItems": 1, "items": pattern}
	return schema{
		"type": "object", "minProperties": 1,
		"properties":           schema{"$or": patterns, "$and": patterns, "$not": pattern},
		"patternProperties":    schema{`^\$(?!or$|and$|not$)`: false},
		"additionalProperties": schema{"anyOf": []any{pattern, schema{"$ref": "#/$defs/conditions"}}},
	}
}

// conditionsSchema describes the list of conditions of a field, of which any has to hold.
func conditionsSchema() schema {
	operator := schema{}
	for _, name := range operators {
		operator[name] = schema{}
	}
	operator["exists"] = schema{"type": "boolean"}
	operator["numeric"] = schema{"type": "array", "minItems": 2, "maxItems": 4}
	operator["cidr"] = schema{"type": "string"}
	operator["regex"] = schema{"type": "string"}
	return schema{"type": "array", "minItems": 1, "items": schema{"anyOf": []any{
		schema{"type": []string{"string", "number", "boolean", "null"}},
		schema{"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": operator},
	}}}
}
