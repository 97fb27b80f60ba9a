//go:build race

package changes_test

// killStep is how many operations lie between two kills: as each takes a second. EVENTROUTER_TEST_KILL_STEP=1 kills after each.
const killStep = 6
