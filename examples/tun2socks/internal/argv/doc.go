// Package argv keeps credentials on the command line from those who list processes.
package argv
