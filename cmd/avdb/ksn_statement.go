package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

func newKSNStatement(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "statement",
		Short: "what taking part means: read it, accept it, decline it",
		Long: `The statement says what KSN sends and what for. Accepting it is recorded with version, language,
time and the SHA-256 of the text that was shown, and switches nothing on. Declining a newer
statement leaves the accepted one in force; declining the accepted one ends KSN.`,
		Example: `  avdb ksn statement show --lang de
  avdb ksn statement accept`,
	})
	var lang string
	var version int
	c.PersistentFlags().StringVar(&lang, "lang", "", "`LANGUAGE` of the text (default: that of the environment, else en)")
	c.PersistentFlags().IntVar(&version, "version", 0, "`NUMBER` of the statement (default: the newest)")
	find := func() (ksn.Statement, error) {
		if version < 0 {
			return ksn.Statement{}, usagef("--version is %d, want 1 or more", version)
		}
		all, err := a.statements()
		if err != nil {
			return ksn.Statement{}, err
		}
		s, err := ksn.FindStatement(all, version, firstOf(lang, a.language()))
		if err != nil {
			return s, hint(err, "run %q to see what there is", "avdb ksn statement list")
		}
		return s, nil
	}
	c.AddCommand(newStatementList(a), newStatementShow(a, find),
		newStatementAnswer(a, find, "accept", "agree to the statement", ksn.Consent.Accept),
		newStatementAnswer(a, find, "decline", "do not agree to the statement", ksn.Consent.Decline))
	return c
}

// statements are those of the network that this device belongs to, or where it has none of its own, those of this program.
func (a *app) statements() ([]ksn.Statement, error) {
	d, err := a.device(true)
	if err != nil {
		return nil, err
	}
	f, _, _, err := d.ownNetwork()
	if err != nil {
		a.warn("the statements of this program stand in for those of the network: %v", err)
		return ksn.DefaultStatements(), nil
	}
	var all []ksn.Statement
	for _, text := range f.Provider.Statements {
		s, err := ksn.ParseStatement([]byte(text))
		if err != nil {
			return nil, hint(fmt.Errorf("the provider file of this device's network: %w", err), "ask its operator for a newer one")
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		all = ksn.DefaultStatements()
	}
	return ksn.SortStatements(all), nil
}

// A statementReport is a statement in JSON documents.
type statementReport struct {
	Version  int             `json:"version"`
	Language string          `json:"language"`
	SHA256   dbformat.Digest `json:"sha256"` // of the text
	Answer   string          `json:"answer"` // accepted, declined, covered (a newer one is accepted) or open
	Text     string          `json:"text,omitempty"`
}

func reportStatement(s ksn.Statement, c ksn.Consent) statementReport {
	return statementReport{Version: s.Version(), Language: s.Language(), SHA256: s.SHA256(), Answer: c.Answer(s.Version())}
}

// answers is the consent of the device, zero when it has none yet.
func (a *app) answers() (ksn.Consent, error) {
	d, err := a.device(true)
	if err != nil {
		return ksn.Consent{}, err
	}
	f, err := d.facts("")
	return f.Consent, err
}

func newStatementList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "the statements that there are, and what was said to them",
		Example: `  avdb ksn statement list`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.answers()
			if err != nil {
				return err
			}
			list := []statementReport{}
			all, err := a.statements()
			if err != nil {
				return err
			}
			for _, s := range all {
				list = append(list, reportStatement(s, c))
			}
			if a.json {
				return a.document(struct {
					Statements []statementReport `json:"statements"`
				}{list})
			}
			for _, s := range list {
				fmt.Fprintf(a.stdout, "statement %d, %-5s  %s\n", s.Version, s.Language, s.Answer)
			}
			return nil
		},
	}
}

func newStatementShow(a *app, find func() (ksn.Statement, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "print a statement",
		Example: `  avdb ksn statement show
  avdb ksn statement show --lang de --version 1`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := find()
			if err != nil {
				return err
			}
			if a.json {
				c, err := a.answers()
				if err != nil {
					return err
				}
				r := reportStatement(s, c)
				r.Text = s.Text()
				return a.document(r)
			}
			_, err = fmt.Fprint(a.stdout, s.Text())
			return err
		},
	}
}

func newStatementAnswer(a *app, find func() (ksn.Statement, error), word, short string,
	answer func(ksn.Consent, ksn.Statement, time.Time) (ksn.Consent, error)) *cobra.Command {
	return &cobra.Command{
		Use:     word,
		Short:   short,
		Example: "  avdb ksn statement " + word,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := find()
			if err != nil {
				return err
			}
			var c ksn.Consent
			r, err := a.consent(func(_ *device, was ksn.Consent) (ksn.Consent, error) {
				c, err = answer(was, s, time.Now())
				return c, err
			})
			if err != nil {
				return err
			}
			st := reportStatement(s, c)
			r.Statement = &st
			if a.json {
				return a.document(r)
			}
			fmt.Fprintf(a.stdout, "statement %d (%s): %s\n", st.Version, st.Language, st.Answer)
			if !r.Mode.On() && st.Answer == "accepted" {
				a.note("KSN is off; switch it on with %q", "avdb ksn enable")
			}
			return nil
		},
	}
}
