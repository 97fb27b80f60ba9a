// Package match finds the rules that an event fulfils, at a cost that hardly grows with the number of rules.
//
// What a rule means is said by package rules, slowly and plainly; this package does the same fast, and is held against it by tests
// on random rules and events.
//
// # How
//
// Compile multiplies nothing out that rules has not: each alternative of each rule's pattern is one conjunction of fields. All paths that they
// ask for form one tree of names ([paths]). Each alternative then gets one way by which it is found: the values of one of its fields,
// or its type pattern, whichever the fewest other alternatives share. It can hold only where the event has one of these values. They
// go into an index by field and by kind (fieldIndex):
//
//   - strings, folded strings and numbers: hash tables (numbers by their float64, then exactly);
//   - prefixes and suffixes: a radix tree, forwards or backwards; cidr: the same over the bits of addresses;
//   - wildcards and regular expressions: the rarest of their literal parts, as a prefix, as a suffix, or in an Aho-Corasick automaton;
//   - numeric ranges: an interval tree;
//   - anything-but: a set of bits of all such conditions, from which an index of the excluded values takes away;
//   - type patterns: a hash table, or package topic's tree.
//
// Where many alternatives share a value, an index of their other fields parts them again, a few levels deep.
//
// Match reads the event once onto a tape: the fields of the envelope that are asked for, then the bytes of the data. Fields
// that no rule asks for are checked to be JSON and passed over; data is not read at all where the type lets no rule in that asks for
// it. Each leaf on the tape is looked up; what is found are candidates, which are verified on the tape. The leaves by which a candidate
// was found are its anchors: only those elements of the lists around them need to be looked at in which one lies. Last comes `where`, for
// rules of which all else holds. The document that it needs is decoded at most once for an event, and only then; so a body is scanned
// once, and decoded once more only if a `where` is evaluated.
//
// # What is guaranteed
//
//   - A Matcher is immutable after Compile and safe for concurrent use. A new set of rules is a new Matcher.
//   - For an event for which nothing holds, nothing is allocated, once scratch memory has grown to size. What
//     a very large event needed is given back.
//   - Data is JSON exactly where event.Event.JSON says so. That is known only at its end, so scanning goes on to the end; and of fields that
//     come twice, the last counts. Data that is not JSON is not there: {exists: false} holds on it, and $not of what does not hold.
//   - Numbers compare exactly at any size, as rules.Number does. Exponents beyond 2^40 are as if at that bound, so that 1e999999999 costs
//     nothing; where float64 tells two numbers apart, that is all that is looked at.
//
// # Cost
//
// With n bytes of event, of which f leaves are asked for, and c candidates: O(n) to read; for each leaf O(its length), and O(log ranges + found)
// where ranges are asked for; for each candidate one look at those parts of the tape that it asks for, or only at the elements with its
// anchors. An element is looked at once for each candidate, never once for each pair of elements, and wildcards and regular expressions (RE2) take
// time in proportion to the text. So nothing is exponential, or quadratic in the event. The worst that is left is the product
// of the candidates and the tape: events all of whose elements nearly match very many rules.
//
// Memory is in proportion to the text of the rules: an alternative stands in at most one bucket for each of its values in the
// first index, and in a bounded number below.
package match
