//! Rules to programs: windows, watermarks, state, episodes. Pure.
