"""What a failure says, word for word: the fault, the case, the text. What hangs on the last bits is left open."""

# ruff: noqa: E501

TEXTS = {
    "carry-dropped": (
        "carry-dropped",
        "m1s2e1u1-float64-seed0",
        """
dC0[0, 0] = -0.21962, but should be -0.54947 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s2e1u1-float64-seed0
  extent    dC0 1/1 entries, dh0 1/1 entries, dUf 1/1 entries, dVf 1/1 entries and 8 more; 12 of 17 tensors; the others use at most ... % of their tolerance
  pattern   wrong where s >= 2, in ... of ... examples tried; right elsewhere, in ... of ...
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   carry-dropped: dC does not carry f * dC of the next step    (reproduces all 12 entries to rounding, and those of 11 more cases)
  rerun     lstm-checks verify mylib:LSTM --case m1s2e1u1-float64-seed0
""",
    ),
    "recurrence-untransposed": (
        "recurrence-untransposed",
        "m1s1e1u2-float64-seed0",
        """
dh0[0, 1] = -1.7758, but should be -1.1887 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s1e1u2-float64-seed0
  extent    dh0 2/2 entries; 1 of 17 tensors; the others use at most ... % of their tolerance
  pattern   wrong where u >= 2, in ... of ... examples tried; right elsewhere, in ... of ...
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   recurrence-untransposed: dh is made of V and not of its transpose    (reproduces all 2 entries to rounding, and those of 12 more cases)
  rerun     lstm-checks verify mylib:LSTM --case m1s1e1u2-float64-seed0
""",
    ),
    "dh0-dc0-swapped": (
        "dh0-dc0-swapped",
        "m2s3e2u3-float64-seed0",
        """
dC0[1, 1] = -0.80533, but should be -0.1877 ± ...    [mylib:LSTM against lstm_ref]
  case      m2s3e2u3-float64-seed0
  extent    dC0 6/6 entries, dh0 6/6 entries; 2 of 17 tensors; the others use at most ... % of their tolerance
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   dh0-dc0-swapped: dh0 and dC0 are swapped    (reproduces all 12 entries to rounding, and those of 12 more cases)
  relation  dh0 holds the value of dC0
  relation  dC0 holds the value of dh0
  rerun     lstm-checks verify mylib:LSTM --case m2s3e2u3-float64-seed0
""",
    ),
    "gate-order-ifgo": (
        "gate-order-ifgo",
        "m1s1e1u1-float64-seed0",
        """
h[0, 0, 0] = 0.031389, but should be -0.033249 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s1e1u1-float64-seed0
  extent    h 1/1 entries, Cn 1/1 entries, dUf 1/1 entries, dbf 1/1 entries and 13 more; 17 of 17 tensors
  oracles   complex step agrees with lstm_ref; check_grad sees nothing wrong with the target: it fits its own forward pass, not lstm_ref's
  suspect   gate-order-ifgo: Weights packed in the order f, i, g, o are read as i, f, g, o    (reproduces all 17 entries to rounding, and those of 12 more cases)
  hint      consistent, but another forward pass: if it is meant so, try --no-reference
  rerun     lstm-checks verify mylib:LSTM --case m1s1e1u1-float64-seed0
""",
    ),
    "mean-over-samples": (
        "mean-over-samples",
        "m2s1e1u1-float64-seed0",
        """
dbf[0, 0] = -0.16133, but should be -0.32266 ± ...    [mylib:LSTM against lstm_ref]
  case      m2s1e1u1-float64-seed0
  extent    dbf 1/1 entries, dbg 1/1 entries, dUf 1/1 entries, dVg 1/1 entries and 8 more; 12 of 17 tensors; the others use at most ... % of their tolerance
  pattern   wrong where m >= 2, in ... of ... examples tried; right elsewhere, in ... of ...
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   mean-over-samples: dU, dV and db are means over the samples    (reproduces all 12 entries to rounding, and those of 11 more cases)
  relation  each of 12 tensors, dUf, dVf, dbf and others, is 1/m times what is due
  rerun     lstm-checks verify mylib:LSTM --case m2s1e1u1-float64-seed0
""",
    ),
    "gradients-never-zeroed": (
        "gradients-never-zeroed",
        "m1s1e1u1-float64-seed0",
        """
dbg[0, 0] = -3.5063, but should be -1.4327 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s1e1u1-float64-seed0
  extent    dbg 1/1 entries, dbf 1/1 entries, dVg 1/1 entries, dVf 1/1 entries and 8 more; 12 of 17 tensors; the others use at most ... % of their tolerance
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   gradients-never-zeroed: The parameters' gradients are added to those of the calls before    (reproduces all 12 entries, call by call)
  rerun     lstm-checks verify mylib:LSTM --case m1s1e1u1-float64-seed0
""",
    ),
    "input-written": (
        "input-written",
        "m1s1e1u1-float64-seed0",
        """
the target wrote to its input X, expected all inputs left as they were    [mylib:LSTM against lstm_ref]
  case      m1s1e1u1-float64-seed0
  oracles   complex step agrees with lstm_ref; check_grad sees nothing wrong with the target
  suspect   input-written: X is scaled in place    (does as the target does, call by call)
  rerun     lstm-checks verify mylib:LSTM --case m1s1e1u1-float64-seed0
""",
    ),
    "sigmoid-of-two-exponentials": (
        "sigmoid-of-two-exponentials",
        "m1s1e2u3-float64-x100-seed2",
        """
h[0, 0, 1] = nan, but should be finite; first non-finite value at step 1 of 1    [mylib:LSTM against lstm_ref]
  case      m1s1e2u3-float64-x100-seed2
  extent    h 1/3 entries (entry 2 of 3), Cn 1/3 entries (column 2 of 3), dUf 2/6 entries (column 2 of 3), dVf 3/9 entries (column 2 of 3) and 13 more; 17 of 17 tensors
  pattern   right at these sizes for 1 of 1 other draws of values
  oracles   complex step agrees with lstm_ref
  suspect   sigmoid-of-two-exponentials: The sigmoid is exp(x) / (1 + exp(x)), NaN above 710    (reproduces all 32 entries to rounding, and those of 1 more case)
  rerun     lstm-checks verify mylib:LSTM --case m1s1e2u3-float64-x100-seed2
""",
    ),
    "the carry decays": (
        "the carry decays",
        "m1s3e1u1-float64-seed0",
        """
dC0[0, 0] = -0.33471, but should be -0.38895 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s3e1u1-float64-seed0
  extent    dC0 1/1 entries, dX 2/3 entries (steps 1, 2 of 3), dVf 1/1 entries, dh0 1/1 entries and 11 more; 15 of 17 tensors; the others use at most ... % of their tolerance
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   no catalogued fault fits
  where     credit goes wrong 1 step back and further: . x. xx. xxx. xxxx. (a word an output step, a letter an input step of dX, x wrong)
  where     going back in time, df_, di_ and dg_ depart first, at the last step but one, do_ right there (solved for from dU)
  rerun     lstm-checks verify mylib:LSTM --case m1s3e1u1-float64-seed0
""",
    ),
    "dVi made of h and not hp in every other sample": (
        "dVi made of h and not hp in every other sample",
        "m2s1e1u1-float64-seed0",
        """
dVi[0, 0] = 0.45168, but should be 0.43322 ± ...    [mylib:LSTM against lstm_ref]
  case      m2s1e1u1-float64-seed0
  extent    dVi 1/1 entries; 1 of 17 tensors; the others use at most ... % of their tolerance
  pattern   wrong where m >= 2, in ... of ... examples tried; right elsewhere, in ... of ...
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   no catalogued fault fits
  where     only dVi (gate i) is ever wrong in 9 cases
  where     wrong for cotangents of samples 2 and 4 of 4 alone, right for those of the others
  where     df_ di_ dg_ do_, solved for from dU, are right at every step; dVi, made from them, is not
  rerun     lstm-checks verify mylib:LSTM --case m2s1e1u1-float64-seed0
""",
    ),
    "dbi and dbo swapped": (
        "dbi and dbo swapped",
        "m1s1e1u1-float64-seed0",
        """
dbo[0, 0] = 0.37228, but should be 0.046073 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s1e1u1-float64-seed0
  extent    dbo 1/1 entries, dbi 1/1 entries; 2 of 17 tensors; the others use at most ... % of their tolerance
  oracles   complex step agrees with lstm_ref; check_grad rejects the target too
  suspect   no catalogued fault fits
  relation  dbi holds the value of dbo
  relation  dbo holds the value of dbi
  where     only dbi and dbo are ever wrong in 9 cases
  where     df_ di_ dg_ do_, solved for from dU, are right at every step; dbi and dbo, made from them, are not
  rerun     lstm-checks verify mylib:LSTM --case m1s1e1u1-float64-seed0
""",
    ),
    "carry-in-single": (
        "carry-in-single",
        "m1s3e1u2-float64-seed0",
        """
dX[0, 1, 0] = 0.1118360774, but should be 0.11183608129 ± ...    [mylib:LSTM against lstm_ref]
  case      m1s3e1u2-float64-seed0
  extent    dX 2/3 entries (steps 1, 2 of 3), dC0 2/2 entries, dbg 2/2 entries, dbi 2/2 entries and 11 more; 15 of 17 tensors; the others use at most ... % of their tolerance
  oracles   complex step agrees with lstm_ref; check_grad sees nothing wrong with the target
  suspect   carry-in-single: dC passed on is rounded to float32    (reproduces all 38 entries to rounding, and those of 12 more cases)
  rerun     lstm-checks verify mylib:LSTM --case m1s3e1u2-float64-seed0
""",
    ),
}
