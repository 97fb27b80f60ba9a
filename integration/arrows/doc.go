// Package arrows holds nothing but the test of which package may import which (see the table in arrows_test.go): a package may
// import what comes earlier in an event's life, never what comes later.
package arrows
