"""Sixty years of the Earth's rotation: an ordinary Streamlit application."""

import datalabs_lab
import numpy as np
import pandas as pd
import streamlit as st

QUANTITIES = {
    "Length of day (ms)": "lod",
    "UT1 − UTC (s)": "ut1_utc",
    "Pole, x (arcsec)": "x",
    "Pole, y (arcsec)": "y",
}


@st.cache_data
def series() -> pd.DataFrame:
    path = datalabs_lab.collections()["iers"] / "eopc04.1962-now"
    mjd, x, y, ut1_utc, lod = np.loadtxt(path, comments="#", usecols=(4, 5, 6, 7, 12), unpack=True)
    date = pd.to_datetime(mjd - 40587, unit="D")
    return pd.DataFrame({"date": date, "x": x, "y": y, "ut1_utc": ut1_utc, "lod": lod * 1e3}).set_index("date")


st.set_page_config(page_title="Earth Orientation Explorer", layout="wide")
st.title("How the Earth turns")
data = series()
first, last = int(data.index[0].year), int(data.index[-1].year)
begin, end = st.slider("Years", first, last, (last - 12, last))
quantity = st.selectbox("Quantity", list(QUANTITIES))
days = st.slider("Smoothing (days)", 1, 365, 1)
chosen = data.loc[str(begin) : str(end)]

left, right = st.columns([2, 1])
with left:
    st.subheader(quantity)
    st.line_chart(chosen[QUANTITIES[quantity]].rolling(days, center=True).mean())
with right:
    st.subheader("The pole's walk")
    st.scatter_chart(chosen, x="x", y="y", size=8)
values = chosen[QUANTITIES[quantity]]
columns = st.columns(4)
for column, (name, value) in zip(
    columns,
    {"days": len(values), "mean": values.mean(), "lowest": values.min(), "highest": values.max()}.items(),
    strict=True,
):
    column.metric(name, f"{value:,.4g}" if name != "days" else f"{value:,}")
st.caption("IERS EOP C04, mounted read-only under /data/iers.")
